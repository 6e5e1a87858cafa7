// SPDX-License-Identifier: GPL-2.0-or-later
#ifndef PHASEWALK_GPUS_H
#define PHASEWALK_GPUS_H

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace phasewalk {

/// Returns the value of an environment variable or nullptr, as std::getenv; replaced in tests.
using Environment = std::function<const char *(const char *)>;

/// Rank and size of MPI_COMM_WORLD.
struct Rank {
  int number = 0;
  int of = 1;
};

/// The GPU of a process, and how it was chosen: name of a variable of the MPI launcher, "MPI rank",
/// or "being the only one".
struct Gpu {
  int number = 0;
  std::string chosen_by;
};

/// Assign the GPUs of a node cyclically to all MPI ranks on it, independent of partitions.
///
/// The rank on the node is taken from the launcher's environment variables. A collective MPI call
/// is not used, because it would wait forever for a process that has stopped with an error or has
/// no such pair style. Variables of an outer launcher (for example of a batch job) have another
/// rank or number of ranks and are ignored. Without such variables the global rank is used, which
/// is correct on one node, and if consecutive ranks, a multiple of the number of GPUs, are on each
/// node.
Gpu choose_gpu(int gpus, const Rank &rank, const Environment &environment);

/// The identity of a GPU of this process, the same in all processes that see it; empty if it is not
/// known. Numbers will not do: each process may see only one GPU, as its number 0.
std::string gpu_identity(int number);

/// The first two ranks that have the same GPU, given the identity of each rank's.
std::optional<std::pair<int, int>> same_gpu(const std::vector<std::string> &identities);

}  // namespace phasewalk

#endif
