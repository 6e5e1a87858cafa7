// SPDX-License-Identifier: GPL-2.0-or-later
#ifndef PHASEWALK_FIX_SENTINEL_H
#define PHASEWALK_FIX_SENTINEL_H

#include <string>

#include "breakdown.h"
#include "fix.h"
#include "stopper.h"

namespace phasewalk {

/// fix ID group phasewalk/sentinel keyword values ...
///
/// Watches a walker at the end of every step and stops its run softly, alone, before LAMMPS would
/// stop with an error, which ends all partitions. On a stop it writes the newest frame that is
/// older than `margin` steps and far enough from all limits; a younger one where there is none.
/// Keywords (metal units):
///
///   force F              largest component of a force
///   temperature T        of all atoms
///   move D               how far an atom comes in one step
///   close C r1 r2 ...    closest pair, as a fraction of the sum of two types' radii
///   volume LO HI         of the box
///   tilt R               largest tilt, as a fraction of the box length it leans along
///   walltime S           seconds since the fix was defined
///   margin N             steps before a stop that are already part of the breakdown
///   ring EVERY COUNT     a frame is remembered every EVERY steps, the last COUNT of them
///   strict R             fraction of each limit that a good frame must keep
///   good FILE            where the last good frame is written, in the format of dump custom
///   together             stop all partitions of the launch where one must stop
///
/// The log gets one line (see stop_line), with the limit's keyword as the reason:
/// phasewalk/stop: {"step": S, "reason": "R", "value": V, "limit": L, "good": G, "says": "…"}
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
  State state(bool strictly);
  double freedom() const;
  double closest_pair(double move, double needed);
  void remember(bool good);
  void stop(const Finding &finding, const std::string &message);
  void write(const Snapshot &snapshot) const;
  bool stop_together(bool mine) const;

  Limits limits_;
  ClosestPair pairs_;
  Ring ring_{20};
  int margin_ = 0, ring_every_ = 10;
  double strict_ = 0.8;
  bool together_ = false, stopped_ = false;
  std::string good_file_;
  double started_;
  Finding tripped_;  // by another style, until the end of the step
  Finding asked_;    // for a stop, by another style that has come to its end
  std::string message_;
  LAMMPS_NS::NeighList *list_ = nullptr;
  StopperEntry entry_;
};

}  // namespace phasewalk

#endif
