// SPDX-License-Identifier: GPL-2.0-or-later
// Computations of fix phasewalk/sentinel: comparison of a walker with its limits, and selection of
// good frames. Independent of LAMMPS; all quantities are in LAMMPS units.
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

/// xx yy zz yz xz xy of a box, in LAMMPS's order.
using Box = std::array<double, 6>;

/// Limits of a walker; 0 means no limit.
struct Limits {
  double force = 0.0;        ///< maximum force component
  double temperature = 0.0;  ///< maximum temperature of all atoms
  double move = 0.0;         ///< maximum displacement of an atom in one step
  double close = 0.0;        ///< minimum pair distance, as a fraction of the sum of radii
  double volume_low = 0.0, volume_high = 0.0;
  double tilt = 0.0;      ///< maximum tilt, as a fraction of the box length along it
  double walltime = 0.0;  ///< time limit, seconds
};

/// Quantities at the end of a step that are compared with the limits.
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

/// A quantity, its limit, and the fraction of the limit that it reaches (above 1: stop).
struct Finding {
  std::string reason;
  double value = 0.0, limit = 0.0, fraction = 0.0;
};

/// The quantity closest to its limit, or furthest beyond it; "nan" if any value is not finite. An
/// exceeded time limit does not affect frames: it is returned only if no other limit is exceeded,
/// with a fraction just above 1.
Finding worst(const State &state, const Limits &limits);

/// The line of a log that says why a run was stopped softly: JSON, after the name that it is found
/// by. `good` is the step of the last good frame, negative if there is none; `says` is what a
/// style said that could not go on.
std::string stop_line(std::int64_t step, const Finding &finding, std::int64_t good,
                      const std::string &says);

/// Largest absolute value; NaN if any value is not finite.
double largest_component(const double *values, std::size_t count);

/// Twice the kinetic energy (mass x velocity^2), and the largest speed.
struct Motion {
  double twice_kinetic = 0.0, speed = 0.0;
};

/// `velocities` is atoms x 3. Masses are by type (from 1), or by atom if `own_masses` is given.
Motion motion(int atoms, const double *velocities, const int *types, const double *type_masses,
              const double *own_masses);

double volume(const Box &box);

/// The largest of three tilts, as a fraction of the box length along it.
double largest_tilt(const Box &box);

/// Smallest pair distance, as a fraction of the sum of the radii of both types (from 1); 1e30 if
/// there is no pair. `positions` is (atoms + ghosts) x 3.
double closest_fraction(const double *positions, const int *types, const std::vector<double> &radii,
                        const Neighbours &neighbours);

/// Smallest pair distance, without evaluating all pairs in every step.
class ClosestPair {
 public:
  ClosestPair() = default;
  explicit ClosestPair(std::vector<double> radii);  ///< radii by type, from 1

  const std::vector<double> &radii() const { return radii_; }

  /// Evaluate all pairs in the next step.
  void forget() { box_.fill(0.0); }

  /// To be called after each step. Returns a lower bound of the closest pair's fraction, or the
  /// exact fraction if it is below `needed`. `scan` computes the fraction; it is called only if a
  /// pair can be that close after displacements of at most `move` per step, or if the box changed.
  template <typename Scan>
  double step(double move, double needed, const Box &box, Scan &&scan) {
    moved_ += 1.5 * move;  // with a margin: the speed between two steps may be larger
    const double bound = closest_ - 2.0 * moved_ / smallest_sum_;
    if (bound >= needed && !strained(box)) return bound;
    box_ = box;
    moved_ = 0.0;
    return closest_ = scan();
  }

 private:
  bool strained(const Box &box) const;

  std::vector<double> radii_;
  double smallest_sum_ = 1.0;  // smallest sum of two radii
  double closest_ = 0.0;       // fraction at the last scan
  double moved_ = 0.0;         // maximum displacement since the last scan
  Box box_{};                  // box at the last scan
};

/// A frame in memory.
struct Snapshot {
  static constexpr std::size_t kColumns = 11;  // id type x y z ix iy iz vx vy vz

  std::int64_t step = -1;
  bool good = false;
  std::array<double, 9> box{};  ///< lo hi tilt of each direction, as in dump custom
  std::vector<double> values;   ///< atoms x kColumns, in any order
};

/// A snapshot as text, in the format of dump custom with %.17g, sorted by ID.
std::string dump_text(const Snapshot &snapshot, bool triclinic);

/// Ring buffer of the last snapshots.
class Ring {
 public:
  explicit Ring(std::size_t count = 1) : snapshots_(count) {}

  /// The oldest snapshot, to be overwritten by the next one.
  Snapshot &next() { return snapshots_[next_++ % snapshots_.size()]; }

  /// The frame from which to continue after a stop: the newest good one that is at least `margin`
  /// steps older. If there is none, or only the first frame of the run: the newest good frame of
  /// all. nullptr if there is no good frame.
  const Snapshot *before_stop(std::int64_t step, std::int64_t margin, std::int64_t begin) const;

  std::size_t size() const { return snapshots_.size(); }

 private:
  const Snapshot *last_good(std::int64_t before) const;

  std::vector<Snapshot> snapshots_;
  std::size_t next_ = 0;
};

}  // namespace phasewalk

#endif
