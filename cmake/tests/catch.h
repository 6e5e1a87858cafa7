// SPDX-License-Identifier: GPL-2.0-or-later
// Catch2, version 2 or 3. Define CATCH_MAIN before, in the file that makes the program.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;
using Catch::Matchers::ContainsSubstring;
#else
#ifdef CATCH_MAIN
#define CATCH_CONFIG_MAIN
#endif
#include <catch2/catch.hpp>
inline auto ContainsSubstring(const std::string &text) { return Catch::Contains(text); }
#endif
