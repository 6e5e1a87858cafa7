// SPDX-License-Identifier: GPL-2.0-or-later
// The operators of models that run on several MPI ranks: phasewalk::exchange and ::collect. The
// driver declares the same for compiling: models/exchange.py.
#ifndef PHASEWALK_EXCHANGE_H
#define PHASEWALK_EXCHANGE_H

#include <cstdint>

namespace phasewalk {

/// Numbers of all atoms of a rank: those of its owned atoms, then those of its ghosts. Atoms that
/// exist only in the model may be between them.
struct Rows {
  double *data = nullptr;  ///< count x width
  std::int64_t count = 0;
  int width = 0;
};

/// The ranks that share a frame. Both functions are collective calls.
class Ranks {
 public:
  /// Overwrite the rows of ghosts with those of their owners.
  virtual void forward(const Rows &rows) = 0;

  /// Add the rows of ghosts to those of their owners.
  virtual void reverse(const Rows &rows) = 0;

 protected:
  ~Ranks() = default;  // not deleted through this interface
};

/// The ranks that the operators use during its lifetime. A process evaluates one model at a time.
class UseRanks {
 public:
  explicit UseRanks(Ranks &ranks);
  ~UseRanks();
  UseRanks(const UseRanks &) = delete;
  UseRanks &operator=(const UseRanks &) = delete;
};

/// Make the operators known to torch; to be called before such a model is loaded. Those of the
/// driver, in a process that has Python, are replaced.
void register_exchange();

}  // namespace phasewalk

#endif
