// SPDX-License-Identifier: GPL-2.0-or-later
#include "edge_builder.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>

namespace phasewalk {

namespace {

/// Inverse of a row-vector cell, so that fractional = cartesian * inverse.
Cell inverse(const Cell &c) {
  const Cell adjugate = {
      c[4] * c[8] - c[5] * c[7], c[2] * c[7] - c[1] * c[8], c[1] * c[5] - c[2] * c[4],
      c[5] * c[6] - c[3] * c[8], c[0] * c[8] - c[2] * c[6], c[2] * c[3] - c[0] * c[5],
      c[3] * c[7] - c[4] * c[6], c[1] * c[6] - c[0] * c[7], c[0] * c[4] - c[1] * c[3]};
  const double determinant = c[0] * adjugate[0] + c[1] * adjugate[3] + c[2] * adjugate[6];
  if (!(std::abs(determinant) > 0.0)) throw std::invalid_argument("the cell has no volume");
  Cell result;
  std::transform(adjugate.begin(), adjugate.end(), result.begin(),
                 [determinant](double a) { return a / determinant; });
  return result;
}

}  // namespace

Cutoffs::Cutoffs(int num_types, double r_max)
    : Cutoffs(num_types,
              std::vector<double>(static_cast<std::size_t>(num_types) * num_types, r_max)) {}

Cutoffs::Cutoffs(int num_types, std::vector<double> table)
    : num_types_(num_types), table_(std::move(table)) {
  const auto expected = static_cast<std::size_t>(num_types) * num_types;
  if (num_types < 1 || table_.size() != expected)
    throw std::invalid_argument("expected " + std::to_string(expected) + " cutoffs for " +
                                std::to_string(num_types) + " types, got " +
                                std::to_string(table_.size()));
  if (!std::all_of(table_.begin(), table_.end(), [](double r) { return r > 0.0; }))
    throw std::invalid_argument("every cutoff must be positive");
}

double Cutoffs::max() const { return *std::max_element(table_.begin(), table_.end()); }

void EdgeBuilder::set_images(const Atoms &atoms, const std::vector<int> &owners) {
  const Cell inv = inverse(atoms.cell);
  owners_ = owners;
  image_shifts_.resize(3 * owners.size());
  for (std::size_t j = 0; j < owners.size(); ++j) {
    const int owner = owners[j];
    if (owner < 0 || owner >= atoms.nlocal)
      throw std::invalid_argument("ghost atom " + std::to_string(j) +
                                  " is not an image of an atom of this rank");
    const double *image = atoms.positions + 3 * j;
    const double *home = atoms.positions + 3 * static_cast<std::size_t>(owner);
    const double d[3] = {image[0] - home[0], image[1] - home[1], image[2] - home[2]};
    for (int k = 0; k < 3; ++k)
      image_shifts_[3 * j + k] = std::round(d[0] * inv[k] + d[1] * inv[3 + k] + d[2] * inv[6 + k]);
  }
}

void EdgeBuilder::keep_ghosts(const Atoms &atoms) {
  owners_.resize(static_cast<std::size_t>(atoms.nall));
  std::iota(owners_.begin(), owners_.end(), 0);
  image_shifts_.clear();
}

void EdgeBuilder::build(const Atoms &atoms, const Neighbours &neighbours) {
  if (atoms.nall != num_images())
    throw std::invalid_argument("the ghosts changed since set_images() or keep_ghosts()");
  edge_index_.clear();
  edge_targets_.clear();
  shifts_.clear();
  for (int ii = 0; ii < neighbours.inum; ++ii) {
    const int i = neighbours.ilist[ii];
    const double *xi = atoms.positions + 3 * static_cast<std::size_t>(i);
    for (int jj = 0; jj < neighbours.numneigh[i]; ++jj) {
      const auto j = static_cast<std::size_t>(neighbours.firstneigh[i][jj] & neighbours.mask);
      const double *xj = atoms.positions + 3 * j;
      const double d[3] = {xj[0] - xi[0], xj[1] - xi[1], xj[2] - xi[2]};
      const double cutoff = cutoffs_(atoms.types[i], atoms.types[owners_[j]]);
      if (d[0] * d[0] + d[1] * d[1] + d[2] * d[2] >= cutoff * cutoff) continue;
      edge_index_.push_back(i);
      edge_targets_.push_back(owners_[j]);
      if (image_shifts_.empty()) continue;
      shifts_.insert(shifts_.end(),
                     {image_shifts_[3 * j], image_shifts_[3 * j + 1], image_shifts_[3 * j + 2]});
    }
  }
  edge_index_.insert(edge_index_.end(), edge_targets_.begin(), edge_targets_.end());
}

}  // namespace phasewalk
