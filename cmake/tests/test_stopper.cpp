// SPDX-License-Identifier: GPL-2.0-or-later
#define CATCH_MAIN
#include <memory>

#include "catch.h"
#include "stopper.h"

using namespace phasewalk;

namespace {

class Counting : public Stopper {
 public:
  bool trip(const std::string & /*reason*/, const std::string & /*message*/) override {
    ++trips;
    return true;
  }
  bool ask(const std::string & /*reason*/) override { return false; }

  int trips = 0;
};

}  // namespace

TEST_CASE("an instance has the stopper that was made known to it, and no other's") {
  const int one = 0, other = 0;
  CHECK(stopper_of(&one) == nullptr);
  Counting stopper;
  {
    const StopperEntry entry(&one, stopper);
    REQUIRE(stopper_of(&one) == &stopper);
    CHECK(stopper_of(&other) == nullptr);
    CHECK(stopper_of(&one)->trip("model", "says this"));
    CHECK(!stopper_of(&one)->ask("plumed stop"));
  }
  CHECK(stopper.trips == 1);
  CHECK(stopper_of(&one) == nullptr);
}

TEST_CASE("the first of several counts, and the next where it is gone") {
  const int instance = 0;
  Counting first, second;
  auto entry = std::make_unique<StopperEntry>(&instance, first);
  const StopperEntry next(&instance, second);
  CHECK(stopper_of(&instance) == &first);
  entry.reset();
  CHECK(stopper_of(&instance) == &second);
}
