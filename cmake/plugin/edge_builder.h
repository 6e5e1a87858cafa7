// SPDX-License-Identifier: GPL-2.0-or-later
#ifndef PHASEWALK_EDGE_BUILDER_H
#define PHASEWALK_EDGE_BUILDER_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace phasewalk {

/// Cell vectors as rows, row-major, in the length unit of the positions.
using Cell = std::array<double, 9>;

/// Cutoff radius of each ordered pair of types (centre, neighbour).
class Cutoffs {
 public:
  Cutoffs(int num_types, double r_max);
  /// `table` is row-major, num_types x num_types; rows are the centre's type.
  Cutoffs(int num_types, std::vector<double> table);

  int num_types() const { return num_types_; }
  double operator()(std::int64_t centre, std::int64_t neighbour) const {
    return table_[static_cast<std::size_t>(centre * num_types_ + neighbour)];
  }
  double max() const;

 private:
  int num_types_;
  std::vector<double> table_;
};

/// Atoms of this rank followed by their ghosts: periodic images, or atoms of other ranks.
struct Atoms {
  int nlocal = 0;
  int nall = 0;
  const double *positions = nullptr;    ///< nall x 3
  const std::int64_t *types = nullptr;  ///< model types from 0: of owned atoms, or with
                                        ///< keep_ghosts() of all
  Cell cell{};
};

/// A full neighbour list in LAMMPS's layout; `mask` removes the flag bits of an entry.
struct Neighbours {
  int inum = 0;
  const int *ilist = nullptr;
  const int *numneigh = nullptr;
  int *const *firstneigh = nullptr;
  int mask = ~0;
};

/// Converts neighbour lists with ghosts to edges between owned atoms with integer cell shifts:
/// neighbour - centre = x[edge(1)] + shift * cell - x[edge(0)]; or, with keep_ghosts(), to edges
/// from owned atoms to owned atoms or ghosts, without shifts.
class EdgeBuilder {
 public:
  explicit EdgeBuilder(Cutoffs cutoffs) : cutoffs_(std::move(cutoffs)) {}

  const Cutoffs &cutoffs() const { return cutoffs_; }

  /// To be called after each update of the ghosts. `owners` has nall entries: the owned atom of
  /// which each atom is a periodic image. Throws std::invalid_argument for an owner outside
  /// [0, nlocal) and for a singular cell.
  void set_images(const Atoms &atoms, const std::vector<int> &owners);

  /// To be called after each update of the ghosts, in place of set_images().
  void keep_ghosts(const Atoms &atoms);

  /// Number of atoms (owned and ghosts) in the last call of set_images() or keep_ghosts().
  int num_images() const { return static_cast<int>(owners_.size()); }

  /// To be called in every step.
  void build(const Atoms &atoms, const Neighbours &neighbours);

  std::int64_t num_edges() const { return static_cast<std::int64_t>(edge_index_.size() / 2); }
  /// 2 x num_edges: all centres, then all neighbours.
  const std::vector<std::int64_t> &edge_index() const { return edge_index_; }
  /// num_edges x 3, integers; empty with keep_ghosts().
  const std::vector<double> &shifts() const { return shifts_; }

 private:
  Cutoffs cutoffs_;
  std::vector<int> owners_;
  std::vector<double> image_shifts_;  // nall x 3; empty if ghosts are kept
  std::vector<std::int64_t> edge_index_;
  std::vector<std::int64_t> edge_targets_;
  std::vector<double> shifts_;
};

}  // namespace phasewalk

#endif
