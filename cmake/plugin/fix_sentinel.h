// SPDX-License-Identifier: GPL-2.0-or-later
#ifndef PHASEWALK_FIX_SENTINEL_H
#define PHASEWALK_FIX_SENTINEL_H

#include <array>
#include <string>
#include <vector>

#include "fix.h"

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
/// The log gets one line: "phasewalk/sentinel: stop step=S reason=R value=V limit=L good=G".
class FixSentinel : public LAMMPS_NS::Fix {
 public:
  static constexpr const char *kStyle = "fix phasewalk/sentinel";

  FixSentinel(LAMMPS_NS::LAMMPS *lmp, int narg, char **arg);

  int setmask() override;
  void init() override;
  void init_list(int id, LAMMPS_NS::NeighList *list) override;
  void setup(int vflag) override;
  void end_of_step() override;
  double memory_usage() override;

  /// Another style has come to its end, with every frame good. True where the walker is stopped.
  static bool ask(LAMMPS_NS::LAMMPS *lmp, const std::string &reason);

  /// Another style of this walker cannot go on (what it says must be one line). True where the
  /// walker is stopped; false where nobody watches it, so that the caller must raise the error.
  static bool trip(LAMMPS_NS::LAMMPS *lmp, const std::string &reason, const std::string &message);

 private:
  struct Limits {
    double force = 0.0, temperature = 0.0, move = 0.0, close = 0.0;
    double volume_low = 0.0, volume_high = 0.0, tilt = 0.0, walltime = 0.0;
  };
  /// A quantity, what it must not exceed, and how far it has come (above 1: stop).
  struct Finding {
    std::string reason;
    double value = 0.0, limit = 0.0, fraction = 0.0;
  };
  struct Frame {
    LAMMPS_NS::bigint step = -1;
    bool good = false;
    std::array<double, 9> box{};  // bounds and tilts as dump custom writes them
    std::vector<double> values;   // id type x y z ix iy iz vx vy vz
  };

  void parse(int narg, char **arg);
  Finding worst(bool strictly);
  double largest_force() const;
  /// Temperature, and the largest speed of an atom.
  std::array<double, 2> motion() const;
  double freedom() const;
  double closest_pair(double speed, double needed);
  double scan_pairs() const;
  double largest_tilt() const;
  void remember(bool good);
  void stop(const Finding &finding, const std::string &message);
  const Frame *last_good(LAMMPS_NS::bigint before) const;
  void write(const Frame &frame) const;
  bool stop_together(bool mine) const;

  Limits limits_;
  std::vector<double> radii_;  // by type, from 1
  int margin_ = 0, ring_every_ = 10;
  double strict_ = 0.8;
  bool together_ = false, stopped_ = false;
  std::string good_file_;
  double started_;
  double smallest_sum_ = 1.0;    // of two radii
  double closest_ = 0.0;         // when all pairs were last looked at
  double moved_ = 0.0;           // that any atom can have come since then
  std::array<double, 6> box_{};  // then
  std::vector<Frame> ring_;
  std::size_t next_ = 0;
  Finding tripped_;  // by another style, until the end of the step
  Finding asked_;    // for a stop, by another style that has come to its end
  std::string message_;
  LAMMPS_NS::NeighList *list_ = nullptr;
};

}  // namespace phasewalk

#endif
