// SPDX-License-Identifier: GPL-2.0-or-later
#ifndef PHASEWALK_GPUS_H
#define PHASEWALK_GPUS_H

#include <functional>
#include <string>

namespace phasewalk {

/// The value of an environment variable, or nullptr: std::getenv, but for tests.
using Environment = std::function<const char *(const char *)>;

/// A process of an MPI launch, as MPI_COMM_WORLD counts it.
struct Rank {
  int number = 0;
  int of = 1;
};

/// Which GPU a process uses, and what it was chosen by: the name of a variable of its MPI launcher,
/// "MPI rank", or "being the only one".
struct Gpu {
  int number = 0;
  std::string chosen_by;
};

/// The GPUs of a node go round over all MPI ranks on it, whatever partition they belong to.
///
/// The rank on the node comes from the launcher's variables: to ask the other processes would be a
/// collective call, in which a process waits for ever for one that has stopped with an error, or
/// that has no such pair style. Variables that a launcher further out has left behind (a batch
/// job's, say) name another rank or another number of ranks, and are not believed. Without any the
/// rank itself counts, which is right on one node, and where each node has the ranks that follow
/// each other and a multiple of its GPUs.
Gpu choose_gpu(int gpus, const Rank &rank, const Environment &environment);

}  // namespace phasewalk

#endif
