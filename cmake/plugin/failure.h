// SPDX-License-Identifier: GPL-2.0-or-later
#ifndef PHASEWALK_FAILURE_H
#define PHASEWALK_FAILURE_H

#include <exception>
#include <optional>
#include <string>

namespace phasewalk {

/// The line of an error message that tells the reason: the one about memory, or the last
/// "RuntimeError: …", which TorchScript writes below its stack trace; otherwise the first line.
/// Empty if the message is.
inline std::string reason(const std::string &text) {
  auto begin = text.find("out of memory");
  if (begin == std::string::npos) begin = text.rfind("\nRuntimeError: ");
  if (begin == std::string::npos) return text.substr(0, text.find('\n'));
  begin = text[begin] == '\n' ? begin + 1 : text.rfind('\n', begin) + 1;  // npos + 1 is 0
  return text.substr(begin, text.find('\n', begin) - begin);
}

/// The reason in an exception's message, or a default text if it is empty.
inline std::string says(const std::exception &error) {
  const std::string line = reason(error.what());
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
