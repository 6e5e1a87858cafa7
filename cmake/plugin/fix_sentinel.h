// SPDX-License-Identifier: GPL-2.0-or-later
#ifndef PHASEWALK_FIX_SENTINEL_H
#define PHASEWALK_FIX_SENTINEL_H

#include <cstdint>
#include <string>
#include <vector>

#include "bonds.h"
#include "breakdown.h"
#include "fix.h"
#include "stopper.h"

namespace phasewalk {

/// fix ID group phasewalk/sentinel keyword values ...
///
/// Checks the limits of a walker at the end of each step, and stops its run if one is exceeded,
/// before LAMMPS stops with an error that ends all partitions. It then writes the newest frame that
/// is at least `margin` steps older and far enough from all limits; or a newer one if there is
/// none.
/// Keywords (metal units):
///
///   force F              maximum force component
///   temperature T        maximum temperature of all atoms
///   move D               maximum displacement of an atom in one step
///   close C r1 r2 ...    minimum pair distance, as a fraction of the sum of two types' radii
///   volume LO HI         minimum and maximum volume of the box
///   tilt R               maximum tilt, as a fraction of the box length along it
///   walltime S           maximum time since the fix was defined, seconds
///   margin N             number of steps before a stop whose frames are not used
///   ring EVERY COUNT     keep a frame every EVERY steps, at most the last COUNT frames
///   strict R             fraction of each limit that a good frame must not exceed
///   good FILE            file for the last good frame, in the format of dump custom
///   bonds FILE EVERY HOLD  bonds that must last and minimum distances of other pairs (see
///                        BondTable); checked every EVERY steps, a change counts after HOLD steps
///   together             stop all partitions of the launch if one stops
///
/// On several ranks, all of them find the same, and the first one keeps the frames.
///
/// On a stop one line is written to the log (see stop_line), with the limit's keyword as the
/// reason: phasewalk/stop: {"step": S, "reason": "R", "value": V, "limit": L, "good": G, "says":
/// "…"}
class FixSentinel : public LAMMPS_NS::Fix, private Stopper {
 public:
  static constexpr const char *kStyle = "fix phasewalk/sentinel";

  FixSentinel(LAMMPS_NS::LAMMPS *lmp, int narg, char **arg);

  int setmask() override;
  void init() override;
  void init_list(int id, LAMMPS_NS::NeighList *list) override;
  void setup(int vflag) override;
  void end_of_step() override;
  double memory_usage() override;

 private:
  bool trip(const std::string &reason, const std::string &message) override;
  bool ask(const std::string &reason) override;

  void parse(int narg, char **arg);
  void hear();
  State state(bool strictly);
  double freedom() const;
  double closest_pair(double move, double needed);
  void read_bonds(const std::string &file, int every, int hold);
  void look_at_bonds();
  Neighbours neighbours() const;
  void remember(bool good);
  void stop(const Finding &finding, const std::string &message, std::int64_t since);
  void write(const Snapshot &snapshot) const;
  bool stop_together(bool mine) const;

  Limits limits_;
  ClosestPair pairs_;
  Ring ring_{20};
  BondGuard bonds_;
  int bonds_every_ = 0;        // 0: no bonds are watched
  std::vector<double> whole_;  // by ID: positions without the box's boundaries
  std::vector<int> type_of_;   // by ID
  std::vector<int> ids_;       // of atoms and ghosts
  int margin_ = 0, ring_every_ = 10;
  double strict_ = 0.8;
  bool together_ = false, stopped_ = false;
  std::string good_file_;
  double started_;
  Finding tripped_;  // failure of another style in this step
  Finding asked_;    // stop requested by another style
  std::string message_;
  LAMMPS_NS::NeighList *list_ = nullptr;
  StopperEntry entry_;
};

}  // namespace phasewalk

#endif
