// SPDX-License-Identifier: GPL-2.0-or-later
// The arithmetic of fix phasewalk/sentinel: how far a walker is from its limits, and which of its
// frames are good. Without LAMMPS; all quantities are in LAMMPS's units.
#ifndef PHASEWALK_BREAKDOWN_H
#define PHASEWALK_BREAKDOWN_H

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "edge_builder.h"

namespace phasewalk {

/// xx yy zz yz xz xy of a box, in the order in which LAMMPS keeps it.
using Box = std::array<double, 6>;

/// What a walker must not exceed; 0 is no limit.
struct Limits {
  double force = 0.0;        ///< largest component
  double temperature = 0.0;  ///< of all atoms
  double move = 0.0;         ///< of an atom in one step
  double close = 0.0;        ///< smallest distance of a pair, as a fraction of its radii's sum
  double volume_low = 0.0, volume_high = 0.0;
  double tilt = 0.0;      ///< as a fraction of the box length it leans along
  double walltime = 0.0;  ///< seconds
};

/// What is compared with the limits at the end of a step.
struct State {
  double force = 0.0, temperature = 0.0, move = 0.0, close = 1.0;
  double volume = 0.0, tilt = 0.0, walltime = 0.0;
};

/// Which values a limit forbids; time that has run out says nothing of a frame.
enum class Forbids { kMore, kLess, kMoreTime };

/// One limit: its name, which is the keyword that sets it and the reason of a stop, where its
/// number and what is compared with it are, and its side.
struct Limit {
  const char *name;
  double Limits::*number;
  double State::*value;
  Forbids forbids;
};

/// All limits. A keyword with several rows takes as many numbers. The driver has their units and
/// words: walkers/limits.py.
inline constexpr Limit kLimitTable[] = {
    {"force", &Limits::force, &State::force, Forbids::kMore},
    {"temperature", &Limits::temperature, &State::temperature, Forbids::kMore},
    {"move", &Limits::move, &State::move, Forbids::kMore},
    {"close", &Limits::close, &State::close, Forbids::kLess},
    {"volume", &Limits::volume_low, &State::volume, Forbids::kLess},
    {"volume", &Limits::volume_high, &State::volume, Forbids::kMore},
    {"tilt", &Limits::tilt, &State::tilt, Forbids::kMore},
    {"walltime", &Limits::walltime, &State::walltime, Forbids::kMoreTime},
};

/// A quantity, its limit, and the fraction of the limit that is used (above 1: stop).
struct Finding {
  std::string reason;
  double value = 0.0, limit = 0.0, fraction = 0.0;
};

/// The quantity that has used most of its limit; "nan" where any is not finite. Time runs out
/// without harm to a frame: it counts where it is used up and nothing else is, by a hair above 1.
Finding worst(const State &state, const Limits &limits);

/// The line of a log that says why a run was stopped softly: JSON, after the name that it is found
/// by. `good` is the step of the last good frame, negative where there is none; `says` is what a
/// style said that could not go on.
std::string stop_line(std::int64_t step, const Finding &finding, std::int64_t good,
                      const std::string &says);

/// Largest absolute value; not a number where any value is not finite.
double largest_component(const double *values, std::size_t count);

/// Twice the kinetic energy (mass x velocity^2), and the largest speed.
struct Motion {
  double twice_kinetic = 0.0, speed = 0.0;
};

/// `velocities` is atoms x 3. Masses are those of the types, from 1, unless each atom has its own.
Motion motion(int atoms, const double *velocities, const int *types, const double *type_masses,
              const double *own_masses);

double volume(const Box &box);

/// The largest of three tilts, as a fraction of the box length it leans along.
double largest_tilt(const Box &box);

/// Smallest distance of a pair, as a fraction of the sum of its types' radii (from 1); 1e30 where
/// there is no pair. `positions` is atoms and ghosts x 3.
double closest_fraction(const double *positions, const int *types, const std::vector<double> &radii,
                        const Neighbours &neighbours);

/// How close pairs are, without a look at all of them in every step.
class ClosestPair {
 public:
  ClosestPair() = default;
  explicit ClosestPair(std::vector<double> radii);  ///< of the types, from 1

  const std::vector<double> &radii() const { return radii_; }

  /// The next step looks at all pairs.
  void forget() { box_.fill(0.0); }

  /// After one more step: at most the fraction at which the closest pair is, and exactly that where
  /// it is below `needed`. `scan` gives the fraction, and is called only where atoms that move no
  /// further than `move` in a step, or a box that has changed, can have brought a pair so close.
  template <typename Scan>
  double step(double move, double needed, const Box &box, Scan &&scan) {
    moved_ += 1.5 * move;  // half a step more: the speed between two steps may be that of neither
    const double bound = closest_ - 2.0 * moved_ / smallest_sum_;
    if (bound >= needed && !strained(box)) return bound;
    box_ = box;
    moved_ = 0.0;
    return closest_ = scan();
  }

 private:
  bool strained(const Box &box) const;

  std::vector<double> radii_;
  double smallest_sum_ = 1.0;  // of two radii
  double closest_ = 0.0;       // when all pairs were last looked at
  double moved_ = 0.0;         // that any atom can have come since then
  Box box_{};                  // then
};

/// A frame that is remembered.
struct Snapshot {
  static constexpr std::size_t kColumns = 11;  // id type x y z ix iy iz vx vy vz

  std::int64_t step = -1;
  bool good = false;
  std::array<double, 9> box{};  ///< lo hi tilt of each direction, as dump custom writes them
  std::vector<double> values;   ///< atoms x kColumns, in any order
};

/// The text of a snapshot, as dump custom writes it with the format %.17g, sorted by ID.
std::string dump_text(const Snapshot &snapshot, bool triclinic);

/// The last few snapshots.
class Ring {
 public:
  explicit Ring(std::size_t count = 1) : snapshots_(count) {}

  /// Where the next snapshot is to be written, in place of the oldest.
  Snapshot &next() { return snapshots_[next_++ % snapshots_.size()]; }

  /// The frame to go on from after a stop: the newest good one that is at least `margin` steps
  /// older. Where that is none, or the one with which the run began, the newest good one of all;
  /// nullptr where there is none.
  const Snapshot *before_stop(std::int64_t step, std::int64_t margin, std::int64_t begin) const;

  std::size_t size() const { return snapshots_.size(); }

 private:
  const Snapshot *last_good(std::int64_t before) const;

  std::vector<Snapshot> snapshots_;
  std::size_t next_ = 0;
};

}  // namespace phasewalk

#endif
