// SPDX-License-Identifier: GPL-2.0-or-later
// The bonds of fix phasewalk/sentinel: which are broken, and which pairs are too close, for so long
// that it is no vibration. Without LAMMPS; atoms are told by their IDs, lengths in its units.
#ifndef PHASEWALK_BONDS_H
#define PHASEWALK_BONDS_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "breakdown.h"

namespace phasewalk {

/// A bond between an atom and an image of another: whole box vectors from where both were, without
/// the box's boundaries, when the run began.
struct Bond {
  int first = 0, second = 0;  // IDs
  std::array<int, 3> image{};
  double limit = 0.0;  ///< beyond it, the bond is broken
};

/// How near atoms of two types may come if no bond is between them; 0 is as near as they like.
struct Near {
  double limit = 0.0;
  bool bonding = false;  ///< being nearer is a new bond
};

/// What is watched.
class BondTable {
 public:
  BondTable() = default;
  /// Reads the text of a file, one entry in a line (# begins a comment; IDs and types from 1):
  ///
  ///   name TYPE NAME                     of a type, for messages
  ///   bond ID ID SX SY SZ LIMIT
  ///   bonding TYPE TYPE LIMIT            nearer is a new bond
  ///   apart TYPE TYPE LIMIT              nearer is too close
  ///   loose ID ID                        a pair that is not watched
  ///   free ID                            an atom that is not watched
  ///
  /// Throws std::invalid_argument, which names the line.
  BondTable(const std::string &text, int types, std::int64_t atoms);

  const std::vector<Bond> &bonds() const { return bonds_; }
  const Near &near(int type, int other) const {
    return near_[static_cast<std::size_t>(type * (types_ + 1) + other)];
  }
  /// Places in bonds() of those between two atoms, in any order of the two.
  const std::vector<std::size_t> &between(int first, int second) const;
  /// Whether a pair, or one of its atoms, is not watched.
  bool loose(int first, int second) const;
  const std::string &name(int type) const { return names_[static_cast<std::size_t>(type)]; }

 private:
  void read(const std::string &line);
  Near &near(int type, int other);

  int types_ = 0;
  std::int64_t atoms_ = 0;
  std::vector<std::string> names_;
  std::vector<Bond> bonds_;
  std::vector<Near> near_;
  std::unordered_map<std::uint64_t, std::vector<std::size_t>> between_;
  std::set<std::uint64_t> loose_;
  std::vector<bool> free_;  // by ID
};

/// Where all atoms are.
struct Places {
  const double *whole = nullptr;      ///< by ID x 3, without the box's boundaries
  const int *type_of = nullptr;       ///< by ID
  const double *positions = nullptr;  ///< of atoms and ghosts x 3
  const int *types = nullptr;         ///< of atoms and ghosts
  const int *ids = nullptr;           ///< of atoms and ghosts
  Neighbours neighbours;              ///< half or full
  Box box{};
};

/// What has lasted for so long that the run must stop.
struct BondChange {
  Finding finding;  ///< reason "" where there is nothing
  std::string atoms;
  std::int64_t since = 0;  ///< the step at which it was first seen
};

/// A pair of atoms that is nearer than it may be: their nearest images.
struct Close {
  double distance = 0.0, limit = 0.0;
  bool bonding = false;
};

/// Such pairs, by their IDs, the smaller first.
class ClosePairs : public std::map<std::pair<int, int>, Close> {
 public:
  /// Add a pair, or a nearer image of one.
  void add(const std::pair<int, int> &ids, const Close &close);

  /// As numbers, of which those of several ranks may be joined; and the reverse.
  std::vector<double> numbers() const;
  static ClosePairs of(const std::vector<double> &numbers);
};

/// Watches the bonds of a run.
class BondGuard {
 public:
  /// Completes the close pairs that a rank has found by those of the others.
  using Complete = std::function<void(ClosePairs &)>;

  BondGuard() = default;
  /// A change counts when it was seen at each look for `hold` steps.
  BondGuard(BondTable table, std::int64_t hold);

  const BondTable &table() const { return table_; }

  /// A run begins: nothing was seen yet.
  void forget();

  /// Look at all bonds and pairs; steps only grow. On several ranks, `places` has the whole frame
  /// by ID, but neighbours of this rank only.
  void look(std::int64_t step, const Places &places, const Complete &complete = {});

  /// Whether nothing was beyond a limit at the last look.
  bool intact() const { return intact_; }

  /// The change that has lasted longest, of those that count.
  const BondChange &change() const { return change_; }

 private:
  using Pair = std::pair<int, int>;
  void look_at_bonds(std::int64_t step, const Places &places);
  void look_at_pairs(std::int64_t step, const Places &places, const Complete &complete);
  ClosePairs close_pairs(const Places &places) const;
  bool bonded(int first, int second, const double *vector) const;
  void consider(std::int64_t step, std::int64_t since, Finding finding, Pair pair,
                const Places &places);

  BondTable table_;
  std::int64_t hold_ = 0;
  bool intact_ = true;
  std::vector<std::int64_t> broken_since_;  // of each bond; negative: it is not
  std::map<Pair, std::int64_t> close_since_;
  std::vector<std::array<double, 3>> vectors_;  // of each bond, at the last look
  BondChange change_;
};

}  // namespace phasewalk

#endif
