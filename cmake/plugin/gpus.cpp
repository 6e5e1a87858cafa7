// SPDX-License-Identifier: GPL-2.0-or-later
#include "gpus.h"

#include <dlfcn.h>

#include <charconv>
#include <cstring>
#include <map>
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

std::string gpu_identity(int number) {
  // of NVIDIA's driver, which torch has loaded if it uses a GPU
  using Get = int (*)(int *, int);
  using GetUuid = int (*)(char *, int);
  void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
  if (!driver) return "";
  const auto get = reinterpret_cast<Get>(dlsym(driver, "cuDeviceGet"));
  const auto get_uuid = reinterpret_cast<GetUuid>(dlsym(driver, "cuDeviceGetUuid_v2"));
  int device = 0;
  std::string uuid(16, '\0');
  const bool known =
      get && get_uuid && get(&device, number) == 0 && get_uuid(uuid.data(), device) == 0;
  dlclose(driver);
  return known ? uuid : "";
}

std::optional<std::pair<int, int>> same_gpu(const std::vector<std::string> &identities) {
  std::map<std::string, int> users;
  for (std::size_t rank = 0; rank < identities.size(); ++rank) {
    if (identities[rank].empty()) continue;
    const auto [user, added] = users.try_emplace(identities[rank], static_cast<int>(rank));
    if (!added) return std::pair(user->second, static_cast<int>(rank));
  }
  return std::nullopt;
}

}  // namespace phasewalk
