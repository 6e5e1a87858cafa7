// SPDX-License-Identifier: GPL-2.0-or-later
#ifndef PHASEWALK_EVALUATOR_H
#define PHASEWALK_EVALUATOR_H

#include <array>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "edge_builder.h"

namespace phasewalk {

/// A model that cannot be used; the message is one line: what, where, what to do.
class ModelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// What a deployed model says about itself. Lengths in Angstrom.
struct ModelInfo {
  std::vector<std::string> type_names;
  Cutoffs cutoffs;
  std::string dtype;   ///< "float32" or "float64", as recorded in the file
  std::string device;  ///< where it runs: "cpu", "cuda:0", ...
};

/// One frame, in the model's conventions (Angstrom, types from 0). The pointers stay the
/// caller's and are only read.
struct Frame {
  std::int64_t num_atoms = 0;
  std::int64_t num_edges = 0;
  const double *positions = nullptr;         ///< num_atoms x 3
  const std::int64_t *types = nullptr;       ///< num_atoms
  const std::int64_t *edge_index = nullptr;  ///< 2 x num_edges
  const double *shifts = nullptr;            ///< num_edges x 3, whole numbers
  Cell cell{};
};

/// Energies in eV, forces in eV/Angstrom, virial in eV as xx, yy, zz, xy, xz, yz. The virial is
/// the sum of r (x) f, positive under compression: LAMMPS's sign, and -volume x stress.
struct Prediction {
  double energy = 0.0;
  std::vector<double> atom_energies;  ///< num_atoms
  std::vector<double> forces;         ///< num_atoms x 3
  std::array<double, 6> virial{};
};

/// A deployed model, ready to predict. Frames go in together, so that an implementation may
/// evaluate them in one call.
class Evaluator {
 public:
  virtual ~Evaluator() = default;

  const ModelInfo &info() const { return info_; }

  /// Fills `predictions` (resized, buffers reused), one per frame. Throws ModelError.
  virtual void evaluate(const std::vector<Frame> &frames, std::vector<Prediction> &predictions) = 0;

 protected:
  explicit Evaluator(ModelInfo info) : info_(std::move(info)) {}

 private:
  ModelInfo info_;
};

/// Number of GPUs that torch can use in this process; 0 for a CPU-only torch.
int num_gpus();

/// Where a model is to run; `automatic` is a GPU where torch sees one, else the CPU.
enum class Device { automatic, cpu, cuda };

/// Opens a `.nequip.pth` (TorchScript) or `.nequip.pt2` (AOTInductor) file. TorchScript models
/// run on the device that is asked for, on its GPU number `gpu`; AOTInductor models on the kind of
/// device that they were compiled for, which `device` must not contradict. Torch is asked for GPUs
/// only where `device` leaves that open, or names them. Throws ModelError.
std::unique_ptr<Evaluator> open_model(const std::string &path, Device device = Device::automatic,
                                      int gpu = 0);

}  // namespace phasewalk

#endif
