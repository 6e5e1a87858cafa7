// SPDX-License-Identifier: GPL-2.0-or-later
// Interface by which a style stops the run of its LAMMPS instance without an error.
#ifndef PHASEWALK_STOPPER_H
#define PHASEWALK_STOPPER_H

#include <string>

namespace phasewalk {

/// Stops the run of its LAMMPS instance at the end of the step, without an error.
class Stopper {
 public:
  /// Stop because a style failed in this step; `message` is one line. Returns false if the run
  /// cannot be stopped this way; the caller must then raise the error.
  virtual bool trip(const std::string &reason, const std::string &message) = 0;

  /// Stop at the request of a style, with all frames valid. Returns false as above.
  virtual bool ask(const std::string &reason) = 0;

 protected:
  ~Stopper() = default;  // not deleted through this interface
};

/// Registers a stopper for the styles of one LAMMPS instance during its lifetime.
class StopperEntry {
 public:
  StopperEntry(const void *instance, Stopper &stopper);
  ~StopperEntry();
  StopperEntry(const StopperEntry &) = delete;
  StopperEntry &operator=(const StopperEntry &) = delete;

 private:
  Stopper *stopper_;
};

/// The (first) stopper of a LAMMPS instance; nullptr if there is none.
Stopper *stopper_of(const void *instance);

}  // namespace phasewalk

#endif
