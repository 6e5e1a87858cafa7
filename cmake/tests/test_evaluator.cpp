// SPDX-License-Identifier: GPL-2.0-or-later
#define CATCH_MAIN
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/export.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "catch.h"
#include "evaluator.h"

using namespace phasewalk;
namespace fs = std::filesystem;

namespace {

/// A model one can do by hand: E_i = type_i + 1/2 sum_j (r_ij - 4)^2 below 4 Angstrom. Its forces
/// and virial are written out, so nothing here depends on how nequip computes them.
constexpr const char *kSprings = R"(
def forward(self, data: Dict[str, Tensor]) -> Dict[str, Tensor]:
    pos = data["pos"]
    centre = data["edge_index"][0]
    neighbour = data["edge_index"][1]
    shift = torch.mm(data["edge_cell_shift"], data["cell"].view(3, 3))
    vector = pos[neighbour] + shift - pos[centre]
    length = torch.sqrt((vector * vector).sum(1))
    bond = torch.where(length < 4.0, length - 4.0, torch.zeros_like(length))
    energy = torch.ones_like(pos[:, :1]) * data["atom_types"].unsqueeze(1)
    energy = energy.index_add(0, centre, (0.5 * bond * bond).unsqueeze(1))
    pull = (bond / length).unsqueeze(1) * vector
    forces = torch.zeros_like(pos).index_add(0, centre, pull).index_add(0, neighbour, -pull)
    virial = -torch.mm(vector.t(), pull).view(1, 3, 3)
    return {"atomic_energy": energy, "forces": forces, "virial": virial}
)";

/// The same for the owned atoms of a rank, with ghosts in place of shifts.
constexpr const char *kSpringsOnRanks = R"(
def forward(self, data: Dict[str, Tensor]) -> Dict[str, Tensor]:
    pos = data["pos"]
    owned = data["owned"].size(0)
    centre = data["edge_index"][0]
    neighbour = data["edge_index"][1]
    vector = pos[neighbour] - pos[centre]
    length = torch.sqrt((vector * vector).sum(1))
    bond = torch.where(length < 4.0, length - 4.0, torch.zeros_like(length))
    energy = torch.ones_like(pos[:owned, :1]) * data["atom_types"][:owned].unsqueeze(1)
    energy = energy.index_add(0, centre, (0.5 * bond * bond).unsqueeze(1))
    pull = (bond / length).unsqueeze(1) * vector
    forces = torch.zeros_like(pos).index_add(0, centre, pull).index_add(0, neighbour, -pull)
    virial = -torch.mm(vector.t(), pull).view(1, 3, 3)
    return {"atomic_energy": energy, "forces": forces, "virial": virial}
)";

class Folder {
 public:
  Folder() { fs::create_directories(path_); }
  ~Folder() { fs::remove_all(path_); }
  std::string operator/(const std::string &name) const { return (path_ / name).string(); }

 private:
  fs::path path_ = fs::temp_directory_path() / ("phasewalk_test_" + std::to_string(getpid()));
};

std::string save(const Folder &folder, const torch::jit::ExtraFilesMap &metadata,
                 const char *code = kSprings) {
  torch::jit::Module module("springs");
  module.register_attribute("training", c10::BoolType::get(), true);
  module.define(code);
  const std::string path = folder / "springs.nequip.pth";
  torch::jit::ExportModule(module, path, metadata);
  return path;
}

const torch::jit::ExtraFilesMap kMetadata = {
    {"r_max", "4.0"}, {"type_names", "H C"}, {"model_dtype", "float64"}, {"allow_tf32", "0"}};

/// Two atoms, one bond along x of length 3, seen from both ends.
struct Pair {
  std::vector<double> positions = {0.5, 0.0, 0.0, 9.5, 0.0, 0.0};
  std::vector<std::int64_t> types = {0, 1};
  std::vector<std::int64_t> index = {0, 1, 1, 0};
  std::vector<double> shifts = {-1, 0, 0, 1, 0, 0};
  Cell cell = {12, 0, 0, 0, 12, 0, 0, 0, 12};

  Frame frame(std::int64_t edges = 2) const {
    return {2, edges, positions.data(), types.data(), index.data(), shifts.data(), cell};
  }
};

template <typename Call>
std::string message(Call call) {
  try {
    call();
  } catch (const ModelError &error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a TorchScript model describes itself") {
  const Folder folder;
  auto metadata = kMetadata;
  metadata["per_edge_type_cutoff"] = "4.0 3.0 2.0 1.0";
  const auto model = open_model(save(folder, metadata));
  CHECK(model->info().type_names == std::vector<std::string>{"H", "C"});
  CHECK(model->info().cutoffs(0, 1) == 3.0);
  CHECK(model->info().cutoffs(1, 0) == 2.0);
  CHECK(model->info().dtype == "float64");
}

TEST_CASE("energies, forces and virial of one and of many frames") {
  const Folder folder;
  const auto model = open_model(save(folder, kMetadata));
  CHECK(model->info().cutoffs.max() == 4.0);
  const Pair pair;
  Pair stretched = pair;
  stretched.positions[0] = 0.0;  // length 2.5
  std::vector<Prediction> predictions;
  model->evaluate({pair.frame(), stretched.frame()}, predictions);
  REQUIRE(predictions.size() == 2);
  CHECK(predictions[0].energy == Approx(0.5 + 1.0 + 0.5));
  CHECK(predictions[0].atom_energies[1] == Approx(1.5));
  // bond shorter than 4: the ends push each other apart (through the cell's face), f = 2 (r - 4)
  CHECK(predictions[0].forces[0] == Approx(2.0));
  CHECK(predictions[0].forces[3] == Approx(-2.0));
  // compressed, so the virial is positive: sum over both edges of r * f
  CHECK(predictions[0].virial[0] == Approx(6.0));
  CHECK(predictions[0].virial[1] == Approx(0.0));
  CHECK(predictions[1].forces[0] == Approx(3.0));
  model->evaluate({pair.frame()}, predictions);
  REQUIRE(predictions.size() == 1);
  CHECK(predictions[0].forces[0] == Approx(2.0));
}

TEST_CASE("the virial's order is xx yy zz xy xz yz") {
  const Folder folder;
  const auto model = open_model(save(folder, kMetadata));
  Pair pair;
  pair.positions = {0, 0, 0, 1, 2, 0};
  pair.shifts.assign(6, 0.0);
  std::vector<Prediction> predictions;
  model->evaluate({pair.frame()}, predictions);
  const auto &v = predictions[0].virial;
  CHECK(v[1] == Approx(4.0 * v[0]));
  CHECK(v[3] == Approx(2.0 * v[0]));
  CHECK(v[2] == Approx(0.0));
  CHECK(v[4] == Approx(0.0));
  CHECK(v[5] == Approx(0.0));
}

TEST_CASE("few atoms or edges are padded, and the padding is not seen") {
  const Folder folder;
  const auto model = open_model(save(folder, kMetadata));
  const Pair pair;
  std::vector<Prediction> predictions;
  model->evaluate({pair.frame(0)}, predictions);
  CHECK(predictions[0].energy == Approx(1.0));
  CHECK(predictions[0].atom_energies.size() == 2);
  CHECK(predictions[0].forces == std::vector<double>(6, 0.0));
  CHECK(predictions[0].virial == std::array<double, 6>{});
}

TEST_CASE("ghosts are at the end of the forces, also if the frame is padded") {
  const Folder folder;
  auto metadata = kMetadata;
  metadata["phasewalk_exchange"] = "16";
  const auto model = open_model(save(folder, metadata, kSpringsOnRanks));
  CHECK(model->info().exchanged == 16);
  // an owned atom between two ghosts, at distances of 3 and 2.5; with one edge, or two
  const std::vector<double> positions = {0, 0, 0, 3, 0, 0, 0, -2.5, 0};
  const std::vector<std::int64_t> types = {1, 0, 0}, index = {0, 0, 1, 2}, single = {0, 1};
  Frame frame;
  frame.num_atoms = 1;
  frame.num_ghosts = 2;
  frame.num_edges = 2;
  frame.positions = positions.data();
  frame.types = types.data();
  frame.edge_index = index.data();
  std::vector<Prediction> predictions;
  model->evaluate({frame}, predictions);
  CHECK(predictions[0].energy == Approx(1.0 + 0.5 + 0.5 * 2.25));
  const std::vector<double> expected = {-1.0, 1.5, 0, 1.0, 0, 0, 0, -1.5, 0};
  REQUIRE(predictions[0].forces.size() == expected.size());
  for (std::size_t k = 0; k < expected.size(); ++k)
    CHECK(predictions[0].forces[k] == Approx(expected[k]));
  CHECK(predictions[0].virial[0] == Approx(3.0));
  frame.num_edges = 1;
  frame.edge_index = single.data();
  model->evaluate({frame}, predictions);
  CHECK(predictions[0].atom_energies == std::vector<double>{1.5});
  CHECK(predictions[0].forces[3] == Approx(1.0));
  frame.num_atoms = 0;  // a rank without atoms
  frame.num_ghosts = 3;
  frame.num_edges = 0;
  model->evaluate({frame}, predictions);
  CHECK(predictions[0].energy == 0.0);
  CHECK(predictions[0].forces == std::vector<double>(9, 0.0));
}

TEST_CASE("files that are no models are refused in one line") {
  const Folder folder;
  CHECK_THAT(message([&] { open_model(folder / "none.nequip.pth"); }),
             ContainsSubstring("does not exist"));
  CHECK_THAT(message([&] { open_model(folder / "model.pt"); }),
             ContainsSubstring("must end in .nequip.pth"));
  for (const char *name : {"bad.nequip.pth", "bad.nequip.pt2"}) {
    std::ofstream(folder / name) << "this is no archive";
    const std::string text = message([&] { open_model(folder / name); });
    CHECK_THAT(text, ContainsSubstring("cannot be loaded"));
    CHECK(text.find('\n') == std::string::npos);
  }
  CHECK_THAT(message([&] { open_model(save(folder, {{"r_max", "4.0"}})); }),
             ContainsSubstring("not made by nequip-compile"));
  auto metadata = kMetadata;
  metadata["per_edge_type_cutoff"] = "4.0 3.0";
  CHECK_THAT(message([&] { open_model(save(folder, metadata)); }),
             ContainsSubstring("unreadable cutoffs"));
}

TEST_CASE("the device that is asked for is the device, or an error of one line") {
  const Folder folder;
  const std::string path = save(folder, kMetadata);
  CHECK(open_model(path, Device::cpu)->info().device == "cpu");
  if (num_gpus() > 0) {
    CHECK(open_model(path, Device::cuda)->info().device == "cuda:0");
    CHECK(open_model(path)->info().device == "cuda:0");
  } else {
    const std::string text = message([&] { open_model(path, Device::cuda); });
    CHECK_THAT(text, ContainsSubstring("device cuda was requested, but torch finds no GPU"));
    CHECK(text.find('\n') == std::string::npos);
    CHECK(open_model(path)->info().device == "cpu");
  }
}

TEST_CASE("a failing model is an error that counts atoms and edges") {
  const Folder folder;
  const auto model = open_model(save(folder, kMetadata));
  Pair pair;
  pair.index = {0, 1, 7, 0};  // an edge to an atom that is not there
  std::vector<Prediction> predictions;
  CHECK_THAT(message([&] { model->evaluate({pair.frame()}, predictions); }),
             ContainsSubstring("2 atoms and 2 edges"));
}
