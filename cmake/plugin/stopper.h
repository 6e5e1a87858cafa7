// SPDX-License-Identifier: GPL-2.0-or-later
// Who stops the run of a LAMMPS instance softly: styles that cannot go on ask here, and do not have
// to know which style that is.
#ifndef PHASEWALK_STOPPER_H
#define PHASEWALK_STOPPER_H

#include <string>

namespace phasewalk {

/// Ends the run of its LAMMPS instance at the end of the step, without an error.
class Stopper {
 public:
  /// A style cannot go on, and this step is no good; `message` is one line of what it says. False
  /// where the run cannot be stopped so, and the caller must raise the error.
  virtual bool trip(const std::string &reason, const std::string &message) = 0;

  /// A style has come to its end, and all frames are good. False as above.
  virtual bool ask(const std::string &reason) = 0;

 protected:
  ~Stopper() = default;  // nobody owns one by this face of it
};

/// Makes a stopper known, as long as this lives, to the styles of one LAMMPS instance.
class StopperEntry {
 public:
  StopperEntry(const void *instance, Stopper &stopper);
  ~StopperEntry();
  StopperEntry(const StopperEntry &) = delete;
  StopperEntry &operator=(const StopperEntry &) = delete;

 private:
  Stopper *stopper_;
};

/// The stopper of a LAMMPS instance, the first of several; nullptr where it has none.
Stopper *stopper_of(const void *instance);

}  // namespace phasewalk

#endif
