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

/// A model that cannot be used; the message is one line: problem, place, solution.
class ModelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Metadata of a deployed model. Lengths in Angstrom.
struct ModelInfo {
  std::vector<std::string> type_names;
  Cutoffs cutoffs;
  std::string dtype;   ///< "float32" or "float64", as recorded in the file
  std::string device;  ///< "cpu", "cuda:0", ...
  int exchanged = 0;   ///< most features of an atom that ranks exchange; 0: for one rank only
};

/// One frame, in the model's conventions (Angstrom, types from 0). The caller owns the data, which
/// are only read. Models of one rank have no ghosts; those of several ranks need neither shifts nor
/// cell.
struct Frame {
  std::int64_t num_atoms = 0;
  std::int64_t num_edges = 0;
  const double *positions = nullptr;         ///< (num_atoms + num_ghosts) x 3
  const std::int64_t *types = nullptr;       ///< num_atoms + num_ghosts
  const std::int64_t *edge_index = nullptr;  ///< 2 x num_edges
  const double *shifts = nullptr;            ///< num_edges x 3, integers
  Cell cell{};
  std::int64_t num_ghosts = 0;
};

/// Energies in eV, forces in eV/Angstrom, virial in eV as xx, yy, zz, xy, xz, yz. The virial is
/// the sum of r (x) f, positive under compression as in LAMMPS, equal to -volume x stress.
struct Prediction {
  double energy = 0.0;
  std::vector<double> atom_energies;  ///< num_atoms
  std::vector<double> forces;         ///< (num_atoms + num_ghosts) x 3
  std::array<double, 6> virial{};
};

/// A deployed model. It takes several frames per call, so that an implementation may evaluate them
/// together.
class Evaluator {
 public:
  virtual ~Evaluator() = default;

  const ModelInfo &info() const { return info_; }

  /// Compute `predictions`, one per frame; the vector is resized and its buffers are reused.
  /// Throws ModelError.
  virtual void evaluate(const std::vector<Frame> &frames, std::vector<Prediction> &predictions) = 0;

 protected:
  explicit Evaluator(ModelInfo info) : info_(std::move(info)) {}

 private:
  ModelInfo info_;
};

/// Number of GPUs that torch can use in this process; 0 for torch without CUDA.
int num_gpus();

/// Device of a model; `automatic` means a GPU if torch finds one, otherwise the CPU.
enum class Device { automatic, cpu, cuda };

/// Open a `.nequip.pth` (TorchScript) or `.nequip.pt2` (AOTInductor) file. TorchScript models run
/// on the given device (on GPU number `gpu`); AOTInductor models on the device type for which they
/// were compiled, which must agree with `device`. GPUs are queried only if `device` is automatic or
/// cuda. Throws ModelError.
std::unique_ptr<Evaluator> open_model(const std::string &path, Device device = Device::automatic,
                                      int gpu = 0);

}  // namespace phasewalk

#endif
