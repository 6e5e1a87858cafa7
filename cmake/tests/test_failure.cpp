// SPDX-License-Identifier: GPL-2.0-or-later
#define CATCH_MAIN
#include <new>
#include <stdexcept>

#include "catch.h"
#include "failure.h"

using namespace phasewalk;

TEST_CASE("an action that ends well has no failure") {
  bool done = false;
  CHECK(!failure_of([&] { done = true; }));
  CHECK(done);
}

TEST_CASE("whatever is thrown is a failure of one line") {
  CHECK(failure_of([] { throw std::runtime_error("the first line\nand more"); }) ==
        "the first line");
  CHECK(failure_of([] { throw std::bad_alloc(); }) == std::bad_alloc().what());
  CHECK(failure_of([] { throw 42; }) == "an exception of an unknown type");
  CHECK(failure_of([] { throw "text"; }) == "an exception of an unknown type");
}

TEST_CASE("of a long message the line with the reason is taken") {
  const std::string script =
      "The following operation failed in the TorchScript interpreter.\nTraceback of TorchScript, "
      "serialized code (most recent call last):\n  File \"code/__torch__\", line 9\n    raise it\n"
      "    ~~~ <--- HERE\nRuntimeError: ";
  CHECK(reason(script + "the size of tensor a must match\n") ==
        "RuntimeError: the size of tensor a must match");
  CHECK(reason(script + "CUDA out of memory. Tried to allocate 20.00 MiB.\nand more") ==
        "RuntimeError: CUDA out of memory. Tried to allocate 20.00 MiB.");
  CHECK(reason("CUDA out of memory.\nRuntimeError: other") == "CUDA out of memory.");
  CHECK(reason("RuntimeError: first\nsecond") == "RuntimeError: first");
  CHECK(reason("") == "");
}

TEST_CASE("an exception without a message is one all the same") {
  CHECK(failure_of([] { throw std::runtime_error(""); }) == "an exception without a message");
  CHECK(failure_of([] { throw std::runtime_error("\nbelow"); }) ==
        "an exception without a message");
}

TEST_CASE("the caller may word what it knows") {
  const auto text = [](const std::exception &error) { return "says " + std::string(error.what()); };
  CHECK(failure_of([] { throw std::runtime_error("it"); }, text) == "says it");
  CHECK(failure_of([] { throw 42; }, text) == "an exception of an unknown type");
}
