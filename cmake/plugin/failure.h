// SPDX-License-Identifier: GPL-2.0-or-later
#ifndef PHASEWALK_FAILURE_H
#define PHASEWALK_FAILURE_H

#include <exception>
#include <optional>
#include <string>

namespace phasewalk {

/// The first line of an exception's message, or a default text if it is empty.
inline std::string says(const std::exception &error) {
  const std::string text = error.what();
  const std::string line = text.substr(0, text.find('\n'));
  return line.empty() ? "an exception without a message" : line;
}

/// Run `action`. Returns the message of an exception, converted by `text`, or nothing if there is
/// none. Exceptions of any type are caught: one that left a callback would terminate LAMMPS, and
/// with it all partitions, without a message.
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
