// SPDX-License-Identifier: GPL-2.0-or-later
#define CATCH_MAIN
#include <map>
#include <string>

#include "catch.h"
#include "gpus.h"

using namespace phasewalk;

namespace {

using Variables = std::map<std::string, std::string>;

Gpu chosen(int gpus, const Rank &rank, const Variables &variables) {
  return choose_gpu(gpus, rank, [&](const char *name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

}  // namespace

TEST_CASE("two ranks on one GPU are found") {
  CHECK_FALSE(same_gpu({"a", "b", "c"}).has_value());
  CHECK(same_gpu({"a", "b", "c", "b", "a"}) == std::pair(1, 3));
  CHECK_FALSE(same_gpu({"", "", "a"}).has_value());  // not known
  CHECK(gpu_identity(1000).empty());
}

TEST_CASE("the rank on the node chooses the GPU") {
  // rank 6 of 8 on two nodes: the third of its node
  const auto [local, number, size] = GENERATE(table<const char *, const char *, const char *>({
      {"MPI_LOCALRANKID", "PMI_RANK", "PMI_SIZE"},
      {"PMI_LOCAL_RANK", "PMI_RANK", "PMI_SIZE"},
      {"OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
      {"MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"},
      {"PALS_LOCAL_RANKID", "PALS_RANKID", "PALS_SIZE"},
      {"JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE"},
      {"SLURM_LOCALID", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"},
  }));
  const Gpu gpu = chosen(4, {6, 8}, {{local, "2"}, {number, "6"}, {size, "8"}});
  CHECK(gpu.number == 2);
  CHECK(gpu.chosen_by == local);
}

TEST_CASE("more ranks than GPUs go round") {
  for (int rank = 0; rank < 7; ++rank) {
    const std::string text = std::to_string(rank);
    const Variables variables = {{"MPI_LOCALRANKID", text}, {"PMI_RANK", text}, {"PMI_SIZE", "7"}};
    CHECK(chosen(3, {rank, 7}, variables).number == rank % 3);
  }
}

TEST_CASE("without a launcher's variables the rank itself counts") {
  CHECK(chosen(4, {6, 8}, {}).number == 2);
  CHECK(chosen(4, {6, 8}, {}).chosen_by == "MPI rank");
  CHECK(chosen(4, {0, 1}, {}).number == 0);
}

TEST_CASE("variables of a launcher further out are not believed") {
  // a batch job's one task, in which mpiexec has started eight ranks
  const Variables batch = {
      {"SLURM_LOCALID", "0"}, {"SLURM_PROCID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}};
  CHECK(chosen(4, {3, 8}, batch).number == 3);
  CHECK(chosen(4, {3, 8}, batch).chosen_by == "MPI rank");
  CHECK(chosen(4, {0, 8}, batch).chosen_by == "MPI rank");
  // Open MPI in a process that MPICH has started
  Variables nested = {{"MPI_LOCALRANKID", "0"},
                      {"PMI_RANK", "0"},
                      {"PMI_SIZE", "1"},
                      {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                      {"OMPI_COMM_WORLD_RANK", "5"},
                      {"OMPI_COMM_WORLD_SIZE", "8"}};
  CHECK(chosen(4, {5, 8}, nested).chosen_by == "OMPI_COMM_WORLD_LOCAL_RANK");
  CHECK(chosen(4, {5, 8}, nested).number == 1);
}

TEST_CASE("what is no rank on a node is not believed") {
  const std::string local = GENERATE("", "x", "-1", "1x", " 1", "99999999999", "3");
  const Variables variables = {{"MPI_LOCALRANKID", local}, {"PMI_RANK", "2"}, {"PMI_SIZE", "4"}};
  const Gpu gpu = chosen(2, {2, 4}, variables);
  CHECK(gpu.number == 0);
  CHECK(gpu.chosen_by == "MPI rank");
}

TEST_CASE("with one GPU, or none, there is nothing to choose") {
  const Variables variables = {{"MPI_LOCALRANKID", "3"}, {"PMI_RANK", "3"}, {"PMI_SIZE", "4"}};
  CHECK(chosen(1, {3, 4}, variables).number == 0);
  CHECK(chosen(0, {3, 4}, variables).number == 0);
}
