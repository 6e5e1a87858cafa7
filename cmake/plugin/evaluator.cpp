// SPDX-License-Identifier: GPL-2.0-or-later
#include "evaluator.h"

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/DeviceGuard.h>
#include <sys/utsname.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/cuda.h>
#include <torch/version.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>
#include <unordered_map>

#include "exchange.h"
#include "failure.h"

namespace phasewalk {

namespace {

using Metadata = std::unordered_map<std::string, std::string>;

constexpr const char *kTorchScriptEnding = ".nequip.pth";
constexpr const char *kInductorEnding = ".nequip.pt2";
// order of nequip's compile target "pair_nequip"
constexpr const char *kInductorInputs = "pos edge_index atom_types cell edge_cell_shift";
// order of the driver's models/exchange.py
constexpr const char *kRanksInputs = "pos edge_index atom_types owned";
constexpr const char *kRanksKey = "phasewalk_exchange";
constexpr const char *kInductorOutputs = "atomic_energy forces virial";

bool ends_with(const std::string &text, const std::string &ending) {
  return text.size() >= ending.size() &&
         text.compare(text.size() - ending.size(), ending.size(), ending) == 0;
}

std::vector<std::string> split(const std::string &text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

/// The reason in torch's error messages, without the stack trace.
std::string torch_reason(const std::exception &error) {
  const auto *torch_error = dynamic_cast<const c10::Error *>(&error);
  const std::string text = torch_error ? torch_error->what_without_backtrace() : error.what();
  return reason(text);
}

/// What to do about a failed evaluation. An AOTInductor model throws without the reason, which is
/// printed to stderr.
std::string advice(const std::string &reason, const at::Device &device) {
  if (reason.find("out of memory") != std::string::npos)
    return "; use a smaller cell, or fewer walkers on this GPU";
  if (!device.is_cpu() && reason.find("API call failed") != std::string::npos)
    return "; the reason is in the standard error output; usually the memory of the GPU is full, "
           "which requires a smaller cell, or fewer walkers on this GPU";
  return "";
}

std::string lookup(const Metadata &metadata, const std::string &key) {
  const auto entry = metadata.find(key);
  return entry == metadata.end() ? std::string() : entry->second;
}

Cutoffs read_cutoffs(const Metadata &metadata, int num_types) {
  const auto table = split(lookup(metadata, "per_edge_type_cutoff"));
  if (table.empty()) return {num_types, std::stod(lookup(metadata, "r_max"))};
  std::vector<double> cutoffs(table.size());
  std::transform(table.begin(), table.end(), cutoffs.begin(),
                 [](const std::string &word) { return std::stod(word); });
  return {num_types, std::move(cutoffs)};
}

ModelInfo read_info(const std::string &path, const Metadata &metadata, const at::Device &device) {
  auto names = split(lookup(metadata, "type_names"));
  if (names.empty() || lookup(metadata, "r_max").empty())
    throw ModelError("model file " + path +
                     " has no type_names and r_max: it was not made by nequip-compile; make a new "
                     "one with phasewalk deploy");
  try {
    const auto num_types = static_cast<int>(names.size());
    const std::string exchanged = lookup(metadata, kRanksKey);
    return {std::move(names), read_cutoffs(metadata, num_types), lookup(metadata, "model_dtype"),
            device.str(), exchanged.empty() ? 0 : std::stoi(exchanged)};
  } catch (const std::exception &error) {
    throw ModelError("model file " + path + " has unreadable cutoffs or features: " + error.what());
  }
}

void allow_tf32(const Metadata &metadata) {
  const bool allowed = lookup(metadata, "allow_tf32") == "1";
  at::globalContext().setAllowTF32CuBLAS(allowed);
  at::globalContext().setAllowTF32CuDNN(allowed);
}

/// Of a model of one rank, or of several: those have `owned`, of which only the length counts, in
/// place of cell and shifts.
struct Inputs {
  at::Tensor positions, edge_index, types, cell, shifts, owned;
};

struct Outputs {
  at::Tensor atom_energies, forces, virial;
};

/// A tensor that refers to memory which the model only reads.
template <typename T>
at::Tensor view(const T *data, at::IntArrayRef shape) {
  return at::from_blob(const_cast<T *>(data), shape, c10::CppTypeToScalarType<T>::value);
}

/// Compiled models may require at least two atoms and two edges. For smaller frames, two dummy
/// atoms are added between atoms and ghosts, connected only to each other, at a distance beyond the
/// cutoff, so that they do not contribute to energies, forces or virial of the real atoms.
class Padding {
 public:
  Frame apply(const Frame &frame, double r_max) {
    atoms_ = frame.num_atoms;
    padded_ = frame.num_atoms < 2 || frame.num_edges < 2;
    if (!padded_) return frame;
    const auto atoms = frame.num_atoms, edges = frame.num_edges, all = atoms + frame.num_ghosts;
    positions_.assign(frame.positions, frame.positions + 3 * all);
    positions_.insert(positions_.begin() + 3 * atoms, {0.0, 0.0, 0.0, 2.0 * r_max, 0.0, 0.0});
    types_.assign(frame.types, frame.types + all);
    types_.insert(types_.begin() + atoms, 2, 0);
    edge_index_.assign(frame.edge_index, frame.edge_index + 2 * edges);
    for (std::int64_t &atom : edge_index_) atom += atom < atoms ? 0 : 2;
    edge_index_.insert(edge_index_.begin() + edges, {atoms, atoms + 1});
    edge_index_.insert(edge_index_.end(), {atoms + 1, atoms});
    shifts_.clear();
    if (frame.shifts) shifts_.assign(frame.shifts, frame.shifts + 3 * edges);
    shifts_.insert(shifts_.end(), 6, 0.0);
    return {atoms + 2,          edges + 2,      positions_.data(), types_.data(),
            edge_index_.data(), shifts_.data(), frame.cell,        frame.num_ghosts};
  }

  /// Remove the dummy atoms from values of all atoms.
  void remove(std::vector<double> &values, int width) const {
    if (!padded_) return;
    const auto first = values.begin() + width * atoms_;
    values.erase(first, first + 2 * width);
  }

 private:
  bool padded_ = false;
  std::int64_t atoms_ = 0;
  std::vector<double> positions_, shifts_;
  std::vector<std::int64_t> types_, edge_index_;
};

/// Copy the first values.size() numbers of a tensor of any device and dtype. On the CPU no memory
/// is allocated.
void copy_out(const at::Tensor &tensor, std::vector<double> &values) {
  const at::Tensor host = tensor.to(at::kCPU).contiguous();
  if (host.numel() < static_cast<std::int64_t>(values.size()))
    throw ModelError("the model returned " + std::to_string(host.numel()) + " numbers, expected " +
                     std::to_string(values.size()));
  if (host.scalar_type() == at::kFloat)
    std::copy_n(host.const_data_ptr<float>(), values.size(), values.begin());
  else
    std::copy_n(host.to(at::kDouble).const_data_ptr<double>(), values.size(), values.begin());
}

/// Common part of both kinds of models, which evaluate one frame per call with tensors.
class TensorEvaluator : public Evaluator {
 public:
  void evaluate(const std::vector<Frame> &frames, std::vector<Prediction> &predictions) final {
    predictions.resize(frames.size());
    for (std::size_t i = 0; i < frames.size(); ++i) {
      try {
        evaluate_one(frames[i], predictions[i]);
      } catch (const ModelError &) {
        throw;
      } catch (const std::exception &error) {
        const std::string why = torch_reason(error);
        throw ModelError("the model failed on a frame of " + std::to_string(frames[i].num_atoms) +
                         " atoms and " + std::to_string(frames[i].num_edges) + " edges: " + why +
                         advice(why, device_));
      }
    }
  }

 protected:
  TensorEvaluator(ModelInfo info, at::Device device)
      : Evaluator(std::move(info)), device_(device) {}

  virtual Outputs run(const Inputs &inputs) = 0;

 private:
  void evaluate_one(const Frame &real, Prediction &prediction) {
    const c10::DeviceGuard guard(device_);
    const Frame frame = padding_.apply(real, info().cutoffs.max());
    const auto all = frame.num_atoms + frame.num_ghosts;
    Inputs inputs;
    inputs.positions = view(frame.positions, {all, 3}).to(device_);
    inputs.edge_index = view(frame.edge_index, {2, frame.num_edges}).to(device_);
    inputs.types = view(frame.types, {all}).to(device_);
    if (info().exchanged > 0) {
      inputs.owned = at::empty({frame.num_atoms}, at::TensorOptions(device_).dtype(at::kLong));
    } else {
      inputs.cell = view(frame.cell.data(), {1, 3, 3}).to(device_);
      inputs.shifts = view(frame.shifts, {frame.num_edges, 3}).to(device_);
    }
    const Outputs outputs = run(inputs);
    prediction.atom_energies.resize(static_cast<std::size_t>(real.num_atoms));
    prediction.forces.resize(static_cast<std::size_t>(3 * all));
    copy_out(outputs.atom_energies, prediction.atom_energies);
    copy_out(outputs.forces, prediction.forces);
    padding_.remove(prediction.forces, 3);
    prediction.energy = 0.0;
    for (const double energy : prediction.atom_energies) prediction.energy += energy;
    std::vector<double> &v = tensor_virial_;
    copy_out(outputs.virial, v);
    prediction.virial = {v[0], v[4], v[8], v[1], v[2], v[5]};
  }

  at::Device device_;
  Padding padding_;
  std::vector<double> tensor_virial_ = std::vector<double>(9);
};

class TorchScriptEvaluator final : public TensorEvaluator {
 public:
  TorchScriptEvaluator(ModelInfo info, at::Device device, torch::jit::Module module)
      : TensorEvaluator(std::move(info), device), module_(std::move(module)) {}

 private:
  Outputs run(const Inputs &inputs) override {
    c10::Dict<std::string, at::Tensor> fields;
    fields.insert("pos", inputs.positions);
    fields.insert("edge_index", inputs.edge_index);
    fields.insert("atom_types", inputs.types);
    if (inputs.owned.defined()) {
      fields.insert("owned", inputs.owned);
    } else {
      fields.insert("cell", inputs.cell);
      fields.insert("edge_cell_shift", inputs.shifts);
    }
    const auto result = module_.forward({fields}).toGenericDict();
    return {result.at("atomic_energy").toTensor().detach(), result.at("forces").toTensor().detach(),
            result.at("virial").toTensor().detach()};
  }

  torch::jit::Module module_;
};

class InductorEvaluator final : public TensorEvaluator {
 public:
  InductorEvaluator(ModelInfo info, at::Device device,
                    std::unique_ptr<torch::inductor::AOTIModelPackageLoader> loader)
      : TensorEvaluator(std::move(info), device), loader_(std::move(loader)) {}

 private:
  Outputs run(const Inputs &inputs) override {
    const at::NoGradGuard no_grad;
    std::vector<at::Tensor> list = {inputs.positions, inputs.edge_index, inputs.types};
    if (inputs.owned.defined())
      list.push_back(inputs.owned);
    else
      list.insert(list.end(), {inputs.cell, inputs.shifts});
    const auto outputs = loader_->run(list);
    return {outputs.at(0), outputs.at(1), outputs.at(2)};
  }

  std::unique_ptr<torch::inductor::AOTIModelPackageLoader> loader_;
};

std::unique_ptr<Evaluator> open_torchscript(const std::string &path, Device wanted, int gpu) {
  const bool on_gpu = wanted != Device::cpu && num_gpus() > 0;
  const at::Device device =
      on_gpu ? at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(gpu)) : at::kCPU;
  Metadata metadata = {{"r_max", ""},       {"type_names", ""}, {"per_edge_type_cutoff", ""},
                       {"model_dtype", ""}, {kRanksKey, ""},    {"allow_tf32", ""}};
  auto module = torch::jit::load(path, device, metadata);
  module.eval();
  allow_tf32(metadata);
  // the number of edges changes from step to step: kernels must not be specialized to it
  torch::jit::FusionStrategy fusion = {{torch::jit::FusionBehavior::DYNAMIC, 2}};
  torch::jit::setFusionStrategy(fusion);
  return std::make_unique<TorchScriptEvaluator>(read_info(path, metadata, device), device,
                                                torch::jit::freeze(module));
}

/// Check properties that torch does not check, or for which it would crash.
void check_package(const std::string &path, const Metadata &metadata, Device wanted) {
  const std::string remedy =
      "; compile it on this machine: nequip-compile --mode aotinductor --target pair_nequip";
  const auto require = [&](bool good, const std::string &what) {
    if (!good) throw ModelError("model file " + path + " " + what + remedy);
  };
  const auto fields_match = [&](const char *key, const char *expected) {
    const std::string fields = lookup(metadata, key);
    return fields.empty() || fields == expected;
  };
  const bool ranks = !lookup(metadata, kRanksKey).empty();
  require(fields_match("nequip_aoti_inputs", ranks ? kRanksInputs : kInductorInputs) &&
              fields_match("nequip_aoti_outputs", kInductorOutputs),
          "was not compiled for the target pair_nequip");
  require(lookup(metadata, "nequip_custom_ops_libs").empty(),
          "requires Python libraries (" + lookup(metadata, "nequip_custom_ops_libs") +
              "), which LAMMPS cannot load");
  utsname machine{};
  const std::string built_for = lookup(metadata, "AOTI_MACHINE");
  if (uname(&machine) == 0 && !built_for.empty())
    require(built_for == machine.machine,
            "was compiled for a " + built_for + " machine, this is " + machine.machine);
  const std::string device = lookup(metadata, "AOTI_DEVICE_KEY");
  require(wanted != Device::cpu || device != "cuda",
          "was compiled for cuda, but device cpu was requested");
  require(wanted != Device::cuda || device == "cuda",
          "was compiled for cpu, but device cuda was requested");
  if (device == "cpu" && lookup(metadata, "AOTI_CPU_ISA").find("AVX512") != std::string::npos)
    require(at::get_cpu_capability().find("AVX512") != std::string::npos,
            "was compiled for a CPU with AVX512, this one has " + at::get_cpu_capability());
  require(device != "cuda" || num_gpus() > 0, "was compiled for cuda, but torch finds no GPU");
}

std::unique_ptr<Evaluator> open_inductor(const std::string &path, Device wanted, int gpu) {
  using torch::inductor::AOTIModelPackageLoader;
  Metadata metadata = AOTIModelPackageLoader::load_metadata_from_package(path, "model");
  check_package(path, metadata, wanted);
  const bool on_gpu = lookup(metadata, "AOTI_DEVICE_KEY") == "cuda";
  const auto index = static_cast<c10::DeviceIndex>(on_gpu ? gpu : -1);
  const at::Device device = on_gpu ? at::Device(at::kCUDA, index) : at::kCPU;
  allow_tf32(metadata);
  return std::make_unique<InductorEvaluator>(
      read_info(path, metadata, device), device,
      std::make_unique<AOTIModelPackageLoader>(path, "model", false, 1, index));
}

}  // namespace

int num_gpus() { return torch::cuda::is_available() ? torch::cuda::device_count() : 0; }

std::unique_ptr<Evaluator> open_model(const std::string &path, Device device, int gpu) {
  const bool torchscript = ends_with(path, kTorchScriptEnding);
  if (!torchscript && !ends_with(path, kInductorEnding))
    throw ModelError("model file " + path + " must end in " + kTorchScriptEnding +
                     " (TorchScript) or " + kInductorEnding + " (AOTInductor)");
  if (!std::ifstream(path).good())
    throw ModelError("model file " + path + " does not exist or cannot be read");
  if (device == Device::cuda && num_gpus() == 0)
    throw ModelError(
        "device cuda was requested, but torch finds no GPU; this requires an NVIDIA driver, a "
        "torch built with CUDA, and a GPU that CUDA_VISIBLE_DEVICES does not hide; or use device "
        "cpu");
  try {
    register_exchange();
    return torchscript ? open_torchscript(path, device, gpu) : open_inductor(path, device, gpu);
  } catch (const ModelError &) {
    throw;
  } catch (const std::exception &error) {
    throw ModelError("model file " + path + " cannot be loaded with torch " + TORCH_VERSION +
                     ": it is damaged, or was compiled with another version of torch or for "
                     "another device; deploy it again (torch: " +
                     torch_reason(error) + ")");
  }
}

}  // namespace phasewalk
