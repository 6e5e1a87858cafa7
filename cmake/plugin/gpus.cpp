// SPDX-License-Identifier: GPL-2.0-or-later
#include "gpus.h"

#include <charconv>
#include <cstring>
#include <optional>

namespace phasewalk {

namespace {

/// Variables of an MPI launcher: the rank on the node, the rank, and the number of ranks.
struct Launcher {
  const char *local, *rank, *size;
};

constexpr Launcher kLaunchers[] = {
    {"MPI_LOCALRANKID", "PMI_RANK", "PMI_SIZE"},  // MPICH, Intel MPI
    {"OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
    {"MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"},
    {"PMI_LOCAL_RANK", "PMI_RANK", "PMI_SIZE"},  // Cray MPICH
    {"PALS_LOCAL_RANKID", "PALS_RANKID", "PALS_SIZE"},
    {"JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE"},
    {"SLURM_LOCALID", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"},  // srun
};

std::optional<int> whole_number(const char *text) {
  if (!text) return std::nullopt;
  int value = 0;
  const char *end = text + std::strlen(text);
  const auto [last, error] = std::from_chars(text, end, value);
  if (error != std::errc() || last != end || value < 0) return std::nullopt;
  return value;
}

}  // namespace

Gpu choose_gpu(int gpus, const Rank &rank, const Environment &environment) {
  if (gpus < 2) return {0, "being the only one"};
  for (const Launcher &launcher : kLaunchers) {
    const auto local = whole_number(environment(launcher.local));
    if (local && *local <= rank.number && whole_number(environment(launcher.rank)) == rank.number &&
        whole_number(environment(launcher.size)) == rank.of)
      return {*local % gpus, launcher.local};
  }
  return {rank.number % gpus, "MPI rank"};
}

}  // namespace phasewalk
