// SPDX-License-Identifier: GPL-2.0-or-later
#define CATCH_MAIN
#include <cmath>
#include <limits>
#include <vector>

#include "breakdown.h"
#include "catch.h"

using namespace phasewalk;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

const Limits kLimits = {30.0, 3000.0, 0.5, 0.6, 500.0, 900.0, 1.3, 60.0};

/// Everything at half of its limit, or well inside.
State calm() { return {15.0, 1500.0, 0.25, 1.2, 700.0, 0.5, 10.0}; }

const Box kCube = {10.0, 10.0, 10.0, 0.0, 0.0, 0.0};

Snapshot &put(Ring &ring, std::int64_t step, bool good) {
  Snapshot &one = ring.next();
  one.step = step;
  one.good = good;
  return one;
}

}  // namespace

TEST_CASE("what has used most of its limit is found") {
  CHECK(worst(calm(), kLimits).fraction < 1.0);
  State state = calm();
  state.force = 45.0;
  state.temperature = 4000.0;
  const Finding found = worst(state, kLimits);
  CHECK(found.reason == "force");
  CHECK(found.value == 45.0);
  CHECK(found.limit == 30.0);
  CHECK(found.fraction == Approx(1.5));
}

TEST_CASE("each limit stops on its side, and exactly at it does not") {
  struct Case {
    const char *reason;
    double State::*value;
    double at, beyond;
  };
  const Case one = GENERATE(
      Case{"force", &State::force, 30.0, 30.001},
      Case{"temperature", &State::temperature, 3000.0, 3000.1},
      Case{"move", &State::move, 0.5, 0.501}, Case{"close", &State::close, 0.6, 0.599},
      Case{"volume", &State::volume, 500.0, 499.9}, Case{"volume", &State::volume, 900.0, 900.1},
      Case{"tilt", &State::tilt, 1.3, 1.301});
  State state = calm();
  state.*one.value = one.at;
  CHECK(worst(state, kLimits).fraction == Approx(1.0));
  CHECK(worst(state, kLimits).fraction <= 1.0);
  state.*one.value = one.beyond;
  CHECK(worst(state, kLimits).reason == one.reason);
  CHECK(worst(state, kLimits).fraction > 1.0);
  CHECK(worst(state, Limits{}).fraction == 0.0);  // without a limit nothing is found
}

TEST_CASE("a stop is one line of JSON, whatever was said") {
  CHECK(stop_line(1031, {"force", 67.125, 50.0, 1.3}, 990, "") ==
        "phasewalk/stop: {\"step\": 1031, \"reason\": \"force\", \"value\": 67.125, "
        "\"limit\": 50, \"good\": 990, \"says\": \"\"}");
  CHECK(
      stop_line(12345678901, {"nan", kNan, -kInfinity, kInfinity}, -1, "a \"b\" \\ \t\x01 é {}") ==
      "phasewalk/stop: {\"step\": 12345678901, \"reason\": \"nan\", \"value\": null, "
      "\"limit\": null, \"good\": null, "
      "\"says\": \"a \\\"b\\\" \\\\ \\u0009\\u0001 é {}\"}");
}

TEST_CASE("a volume or a distance of nothing is beyond every limit") {
  State state = calm();
  state.close = 0.0;
  CHECK(worst(state, kLimits).fraction == kInfinity);
  state = calm();
  state.volume = 0.0;
  CHECK(worst(state, kLimits).reason == "volume");
}

TEST_CASE("what is not finite comes first, with or without a limit of its own") {
  double State::*const value = GENERATE(&State::force, &State::temperature, &State::move,
                                        &State::close, &State::volume, &State::tilt);
  for (const double bad : {kNan, kInfinity, -kInfinity}) {
    State state = calm();
    state.walltime = 1e6;
    state.*value = bad;
    CHECK(worst(state, kLimits).reason == "nan");
    CHECK(worst(state, Limits{}).reason == "nan");
    CHECK(worst(state, kLimits).fraction == kInfinity);
  }
}

TEST_CASE("time stops a walker that nothing else stops, and says nothing of its frames") {
  State state = calm();
  state.walltime = 59.9;
  CHECK(worst(state, kLimits).reason != "walltime");
  state.walltime = 60.1;
  CHECK(worst(state, kLimits).reason == "walltime");
  CHECK(worst(state, kLimits).fraction > 1.0);
  state.force = 31.0;
  CHECK(worst(state, kLimits).reason == "force");
}

TEST_CASE("the largest component, wherever it is") {
  std::vector<double> values(20, 0.5);
  const auto place = GENERATE(0, 5, 6, 17, 18, 19);
  values[place] = -2.0;
  CHECK(largest_component(values.data(), values.size()) == 2.0);
  for (const double bad : {kNan, kInfinity, -kInfinity}) {
    values[place] = bad;
    CHECK(std::isnan(largest_component(values.data(), values.size())));
  }
  CHECK(largest_component(nullptr, 0) == 0.0);
}

TEST_CASE("large forces that are finite are no missing numbers") {
  const std::vector<double> values(12, 1e308);  // their sum is not finite
  CHECK(largest_component(values.data(), values.size()) == 1e308);
}

TEST_CASE("kinetic energy by the masses of types, or of atoms") {
  const std::vector<double> v = {1.0, 2.0, 2.0, 0.0, 0.0, 1.0};
  const int types[] = {2, 1};
  const double masses[] = {0.0, 10.0, 3.0}, own[] = {5.0, 7.0};
  const Motion by_type = motion(2, v.data(), types, masses, nullptr);
  CHECK(by_type.twice_kinetic == Approx(3.0 * 9.0 + 10.0));
  CHECK(by_type.speed == Approx(3.0));
  CHECK(motion(2, v.data(), types, masses, own).twice_kinetic == Approx(5.0 * 9.0 + 7.0));
  CHECK(motion(0, nullptr, nullptr, nullptr, nullptr).speed == 0.0);
}

TEST_CASE("the tilt is measured along the length it leans along") {
  CHECK(largest_tilt({10.0, 20.0, 30.0, 4.0, -3.0, 1.0}) == Approx(0.3));
  CHECK(largest_tilt({10.0, 20.0, 30.0, -8.0, 3.0, 1.0}) == Approx(0.4));
  CHECK(volume({10.0, 20.0, 30.0, 4.0, -3.0, 1.0}) == 6000.0);
}

TEST_CASE("the closest pair is the closest by its radii") {
  const std::vector<double> x = {0, 0, 0, 0, 0, 1.0, 0, 0, 2.5};
  const int types[] = {1, 1, 2};
  const std::vector<double> radii = {0.0, 0.5, 1.5};
  int ilist[] = {0, 1, 2}, numneigh[] = {1, 1, 0};
  int of_first[] = {1}, of_second[] = {2 | 1 << 30};  // a flag bit, as LAMMPS has them
  int *firstneigh[] = {of_first, of_second, nullptr};
  const Neighbours neighbours = {3, ilist, numneigh, firstneigh, 0x1FFFFFFF};
  CHECK(closest_fraction(x.data(), types, radii, neighbours) == Approx(1.5 / 2.0));
  CHECK(closest_fraction(x.data(), types, radii, {}) == Approx(1e30));
}

TEST_CASE("all pairs are looked at only where one can have come too close") {
  ClosestPair pairs({0.0, 1.0});  // two radii are 2
  int scans = 0;
  const auto scan = [&] {
    ++scans;
    return 1.5;
  };
  CHECK(pairs.step(0.01, 0.6, kCube, scan) == 1.5);  // the first look
  CHECK(scans == 1);
  double bound = 1.5;
  int steps = 0;
  while (scans == 1 && steps < 1000) {
    ++steps;
    const double before = bound;
    bound = pairs.step(0.1, 0.59, kCube, scan);
    if (scans == 1) CHECK(bound == Approx(before - 2.0 * 1.5 * 0.1 / 2.0));
  }
  CHECK(steps == 7);  // 1.5 - 6 x 0.15 is 0.6, and one step more is below
  CHECK(bound == 1.5);
  pairs.step(0.0, 1.6, kCube, scan);  // more is needed than there is
  CHECK(scans == 3);
  pairs.step(0.0, 0.6, kCube, scan);
  CHECK(scans == 3);
  pairs.forget();
  pairs.step(0.0, 0.6, kCube, scan);
  CHECK(scans == 4);
}

TEST_CASE("a strained box is looked at again, by its shortest length") {
  ClosestPair pairs({0.0, 1.0});
  int scans = 0;
  const auto scan = [&] {
    ++scans;
    return 1.5;
  };
  Box box = GENERATE(Box{10.0, 10.0, 10.0, 0, 0, 0}, Box{10.0, 60.0, 80.0, 0, 0, 0},
                     Box{70.0, 60.0, 10.0, 0, 0, 0});
  const std::size_t changed = GENERATE(0, 2, 5);
  pairs.step(0.0, 0.6, box, scan);
  box[changed] += 0.025;
  pairs.step(0.0, 0.6, box, scan);
  CHECK(scans == 1);
  box[changed] += 0.01;  // together more than 0.3 % of 10
  pairs.step(0.0, 0.6, box, scan);
  CHECK(scans == 2);
  box[0] = kNan;
  pairs.step(0.0, 0.6, box, scan);
  CHECK(scans == 3);
}

TEST_CASE("the good frame is older than the margin") {
  Ring ring(4);
  for (std::int64_t step = 0; step <= 50; step += 10) put(ring, step, true);
  // 20, 30, 40, 50 are left
  CHECK(ring.before_stop(53, 10, 0)->step == 40);
  CHECK(ring.before_stop(53, 3, 0)->step == 50);
  CHECK(ring.before_stop(53, 13, 0)->step == 40);
  CHECK(ring.before_stop(53, 14, 0)->step == 30);
}

TEST_CASE("where the margin leaves nothing but the start, a newer frame is better") {
  Ring ring(4);
  put(ring, 100, true);
  put(ring, 110, true);
  put(ring, 120, false);
  CHECK(ring.before_stop(125, 20, 100)->step == 110);
  CHECK(ring.before_stop(125, 40, 100)->step == 110);  // no frame is so old
  CHECK(Ring(3).before_stop(10, 0, 0) == nullptr);
  Ring bad(2);
  put(bad, 10, false);
  CHECK(bad.before_stop(20, 5, 0) == nullptr);
}

TEST_CASE("a snapshot is written as dump custom would, sorted by ID") {
  Snapshot one;
  one.step = 12345678901;
  one.box = {0.0, 1.1, 0.5, 0.0, 2.0, 0.0, -1.0, 3.0, 0.0};
  one.values = {2, 1, 0.1, 0.2, 1.0 / 3.0, 0, -1, 0, 1, 2, 3, 1, 2, 1, 1, 1, 0, 0, 2, 0, 0, -0.5};
  CHECK(dump_text(one, true) ==
        "ITEM: TIMESTEP\n12345678901\nITEM: NUMBER OF ATOMS\n2\n"
        "ITEM: BOX BOUNDS xy xz yz pp pp pp\n0 1.1000000000000001 0.5\n0 2 0\n-1 3 0\n"
        "ITEM: ATOMS id type x y z ix iy iz vx vy vz\n"
        "1 2 1 1 1 0 0 2 0 0 -0.5\n"
        "2 1 0.10000000000000001 0.20000000000000001 0.33333333333333331 0 -1 0 1 2 3\n");
  CHECK_THAT(dump_text(one, false),
             ContainsSubstring("BOX BOUNDS pp pp pp\n0 1.1000000000000001\n0 2\n-1 3\n"));
}
