// SPDX-License-Identifier: GPL-2.0-or-later
#define CATCH_MAIN
#include "catch.h"
#include "masses.h"

using namespace phasewalk;

namespace {

const std::vector<std::string> kKnown = {"Al", "C", "H", "O"};

}  // namespace

TEST_CASE("elements in the order of the types") {
  CHECK_FALSE(misnamed({"Al", "C", "H", "O"}, {26.982, 12.011, 1.008, 15.999}, kKnown));
  CHECK_FALSE(misnamed({"O", "O"}, {16.0, 15.9994}, kKnown));
}

TEST_CASE("elements in another order") {
  const auto found = misnamed({"Al", "H", "C", "O"}, {26.98, 12.01, 1.008, 16.0}, kKnown);
  REQUIRE(found.has_value());
  CHECK(found->type == 2);
  CHECK(found->element == "C");
}

TEST_CASE("masses that are no other element's are the user's own") {
  CHECK_FALSE(misnamed({"H"}, {2.014}, kKnown));          // deuterium
  CHECK_FALSE(misnamed({"H", "C"}, {4.0, 9.0}, kKnown));  // moved from carbon to hydrogen
  CHECK_FALSE(misnamed({"Al"}, {0.0}, kKnown));           // not set yet
  CHECK_FALSE(misnamed({"Al"}, {55.845}, kKnown));        // iron, which the model does not know
  CHECK_FALSE(misnamed({"X", "C"}, {12.011, 12.011}, {"X", "C"}));
}

TEST_CASE("masses that are too alike are not judged") {
  CHECK_FALSE(misnamed({"Co", "Ni"}, {58.933, 58.693}, {"Co", "Ni"}));
  CHECK_FALSE(misnamed({"Ni", "Co"}, {58.933, 58.693}, {"Co", "Ni"}));
}
