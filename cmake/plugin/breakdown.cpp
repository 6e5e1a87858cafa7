// SPDX-License-Identifier: GPL-2.0-or-later
#include "breakdown.h"

#include <cstdio>
#include <limits>
#include <numeric>

namespace phasewalk {

namespace {

constexpr double kStrain = 0.003;  // fraction of the shortest box length; negligible for distances
constexpr double kJustAbove = 1.0 + 1e-9;

/// The fraction of a limit that is reached; infinity if the quotient is not finite.
double used(double value, double limit) {
  const double fraction = value / limit;
  return std::isfinite(fraction) ? fraction : std::numeric_limits<double>::infinity();
}

bool all_finite(const State &state) {
  for (const Limit &limit : kLimitTable)
    if (!std::isfinite(state.*limit.value)) return false;
  return true;
}

template <typename... Values>
void append(std::string &text, const char *format, Values... values) {
  char line[512];
  const int length = std::snprintf(line, sizeof(line), format, values...);
  text.append(line, static_cast<std::size_t>(length));
}

/// As JSON, which has no word for what is not finite.
void append_number(std::string &text, double value) {
  if (std::isfinite(value))
    append(text, "%.6g", value);
  else
    text += "null";
}

/// As JSON; bytes beyond ASCII stay as they are.
void append_text(std::string &text, const std::string &words) {
  text += '"';
  for (const char c : words) {
    if (c == '"' || c == '\\')
      text.append({'\\', c});
    else if (static_cast<unsigned char>(c) < 0x20)
      append(text, "\\u%04x", static_cast<unsigned>(c));
    else
      text += c;
  }
  text += '"';
}

}  // namespace

Finding worst(const State &state, const Limits &limits) {
  if (!all_finite(state)) {
    const double none = std::numeric_limits<double>::quiet_NaN();
    return {"nan", none, none, std::numeric_limits<double>::infinity()};
  }
  Finding found, late;
  for (const Limit &limit : kLimitTable) {
    const double value = state.*limit.value, number = limits.*limit.number;
    if (!(number > 0.0)) continue;
    const double fraction =
        limit.forbids == Forbids::kLess ? used(number, value) : used(value, number);
    if (limit.forbids == Forbids::kMoreTime) {
      if (fraction > 1.0) late = {limit.name, value, number, kJustAbove};
    } else if (fraction > found.fraction) {
      found = {limit.name, value, number, fraction};
    }
  }
  return late.fraction > 1.0 && found.fraction <= 1.0 ? late : found;
}

std::string stop_line(std::int64_t step, const Finding &finding, std::int64_t good,
                      const std::string &says) {
  std::string line = "phasewalk/stop: {";
  append(line, "\"step\": %lld, \"reason\": ", static_cast<long long>(step));
  append_text(line, finding.reason);
  line += ", \"value\": ";
  append_number(line, finding.value);
  line += ", \"limit\": ";
  append_number(line, finding.limit);
  if (good < 0)
    line += ", \"good\": null";
  else
    append(line, ", \"good\": %lld", static_cast<long long>(good));
  line += ", \"says\": ";
  append_text(line, says);
  return line + "}";
}

double largest_component(const double *values, std::size_t count) {
  // independent lanes, so that the processor can work on several values in parallel
  constexpr std::size_t kLanes = 6;
  double largest[kLanes] = {}, sum[kLanes] = {};
  const auto take = [&](std::size_t lane, double value) {
    largest[lane] = std::max(largest[lane], std::abs(value));
    sum[lane] += value - value;  // 0, or NaN, which max() ignores
  };
  std::size_t k = 0;
  for (; k + kLanes <= count; k += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane) take(lane, values[k + lane]);
  for (; k < count; ++k) take(0, values[k]);
  for (std::size_t lane = 1; lane < kLanes; ++lane) {
    largest[0] = std::max(largest[0], largest[lane]);
    sum[0] += sum[lane];
  }
  return std::isfinite(sum[0]) ? largest[0] : std::numeric_limits<double>::quiet_NaN();
}

Motion motion(int atoms, const double *velocities, const int *types, const double *type_masses,
              const double *own_masses) {
  Motion found;
  double fastest = 0.0;
  for (int i = 0; i < atoms; ++i) {
    const double *v = velocities + 3 * static_cast<std::size_t>(i);
    const double mass = own_masses ? own_masses[i] : type_masses[types[i]];
    const double square = v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
    found.twice_kinetic += mass * square;
    fastest = std::max(fastest, square);
  }
  found.speed = std::sqrt(fastest);
  return found;
}

double volume(const Box &box) { return box[0] * box[1] * box[2]; }

double largest_tilt(const Box &box) {
  return std::max(
      {std::abs(box[5]) / box[0], std::abs(box[4]) / box[0], std::abs(box[3]) / box[1]});
}

double closest_fraction(const double *positions, const int *types, const std::vector<double> &radii,
                        const Neighbours &neighbours) {
  double closest = 1e60;
  for (int ii = 0; ii < neighbours.inum; ++ii) {
    const int i = neighbours.ilist[ii];
    const double *xi = positions + 3 * static_cast<std::size_t>(i);
    const double radius = radii[static_cast<std::size_t>(types[i])];
    for (int jj = 0; jj < neighbours.numneigh[i]; ++jj) {
      const int j = neighbours.firstneigh[i][jj] & neighbours.mask;
      const double *xj = positions + 3 * static_cast<std::size_t>(j);
      const double d[3] = {xj[0] - xi[0], xj[1] - xi[1], xj[2] - xi[2]};
      const double sum = radius + radii[static_cast<std::size_t>(types[j])];
      closest = std::min(closest, (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]) / (sum * sum));
    }
  }
  return std::sqrt(closest);
}

ClosestPair::ClosestPair(std::vector<double> radii) : radii_(std::move(radii)) {
  if (radii_.size() > 1) smallest_sum_ = 2.0 * *std::min_element(radii_.begin() + 1, radii_.end());
}

bool ClosestPair::strained(const Box &box) const {
  double change = 0.0;
  for (std::size_t k = 0; k < box.size(); ++k)
    change = std::max(change, std::abs(box[k] - box_[k]));
  return !(change < kStrain * std::min({box[0], box[1], box[2]}));
}

std::string dump_text(const Snapshot &snapshot, bool triclinic) {
  const std::size_t columns = Snapshot::kColumns, atoms = snapshot.values.size() / columns;
  std::string text;
  append(text, "ITEM: TIMESTEP\n%lld\nITEM: NUMBER OF ATOMS\n%zu\n",
         static_cast<long long>(snapshot.step), atoms);
  text += triclinic ? "ITEM: BOX BOUNDS xy xz yz pp pp pp\n" : "ITEM: BOX BOUNDS pp pp pp\n";
  for (std::size_t k = 0; k < 9; k += 3) {
    append(text, "%.17g %.17g", snapshot.box[k], snapshot.box[k + 1]);
    if (triclinic) append(text, " %.17g", snapshot.box[k + 2]);
    text += '\n';
  }
  text += "ITEM: ATOMS id type x y z ix iy iz vx vy vz\n";
  std::vector<std::size_t> order(atoms);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return snapshot.values[a * columns] < snapshot.values[b * columns];
  });
  for (const std::size_t i : order) {
    const double *v = &snapshot.values[i * columns];
    append(text, "%.0f %.0f %.17g %.17g %.17g %.0f %.0f %.0f %.17g %.17g %.17g\n", v[0], v[1], v[2],
           v[3], v[4], v[5], v[6], v[7], v[8], v[9], v[10]);
  }
  return text;
}

const Snapshot *Ring::last_good(std::int64_t before) const {
  const Snapshot *best = nullptr;
  for (const Snapshot &one : snapshots_)
    if (one.good && one.step >= 0 && one.step <= before && (!best || one.step > best->step))
      best = &one;
  return best;
}

const Snapshot *Ring::before_stop(std::int64_t step, std::int64_t margin,
                                  std::int64_t begin) const {
  const Snapshot *good = last_good(step - margin);
  if (good && good->step != begin) return good;
  const Snapshot *newer = last_good(step);
  return newer ? newer : good;
}

}  // namespace phasewalk
