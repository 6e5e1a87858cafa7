// SPDX-License-Identifier: GPL-2.0-or-later
#ifndef PHASEWALK_FAILURE_H
#define PHASEWALK_FAILURE_H

#include <exception>
#include <optional>
#include <string>

namespace phasewalk {

/// The first line of what an exception says; words of its own for one that says nothing.
inline std::string says(const std::exception &error) {
  const std::string text = error.what();
  const std::string line = text.substr(0, text.find('\n'));
  return line.empty() ? "an exception without a message" : line;
}

/// What `action` throws, as `text` words a std::exception; nothing if it throws nothing.
///
/// What is no std::exception is caught too: an exception that left a callback would end LAMMPS
/// without a word, and with it all partitions.
template <typename Action, typename Text>
std::optional<std::string> failure_of(Action &&action, Text &&text) {
  try {
    action();
  } catch (const std::exception &error) {
    return text(error);
  } catch (...) {
    return "an exception of an unknown type";
  }
  return std::nullopt;
}

template <typename Action>
std::optional<std::string> failure_of(Action &&action) {
  return failure_of(action, says);
}

}  // namespace phasewalk

#endif
