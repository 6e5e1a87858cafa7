// SPDX-License-Identifier: GPL-2.0-or-later
#include "bonds.h"

#include <cmath>
#include <sstream>
#include <stdexcept>

namespace phasewalk {

namespace {

constexpr double kSame = 0.1;  // images of one atom are further apart

std::uint64_t key(int first, int second) {
  const auto low = static_cast<std::uint32_t>(std::min(first, second));
  const auto high = static_cast<std::uint32_t>(std::max(first, second));
  return static_cast<std::uint64_t>(high) << 32 | low;
}

double square(const double *v) { return v[0] * v[0] + v[1] * v[1] + v[2] * v[2]; }

/// One line of a table, word by word.
class Words {
 public:
  explicit Words(const std::string &line) : stream_(line) {}

  std::string word() {
    std::string found;
    if (!(stream_ >> found)) throw std::invalid_argument("a word is missing");
    return found;
  }
  int whole(std::int64_t from, std::int64_t to) {
    std::int64_t found = 0;
    if (!(stream_ >> found) || found < from || found > to)
      throw std::invalid_argument("expected a whole number from " + std::to_string(from) + " to " +
                                  std::to_string(to));
    return static_cast<int>(found);
  }
  double length() {
    double found = 0.0;
    if (!(stream_ >> found) || !(found > 0.0) || !std::isfinite(found))
      throw std::invalid_argument("expected a length");
    return found;
  }
  void end() {
    std::string more;
    if (stream_ >> more) throw std::invalid_argument("does not end before " + more);
  }

 private:
  std::istringstream stream_;
};

}  // namespace

BondTable::BondTable(const std::string &text, int types, std::int64_t atoms)
    : types_(types),
      atoms_(atoms),
      names_(static_cast<std::size_t>(types + 1), "atom "),
      near_(static_cast<std::size_t>((types + 1) * (types + 1))),
      free_(static_cast<std::size_t>(atoms + 1), false) {
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    line = line.substr(0, line.find('#'));
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    try {
      read(line);
    } catch (const std::invalid_argument &error) {
      throw std::invalid_argument("line " + std::to_string(number) + ": " + error.what());
    }
  }
}

void BondTable::read(const std::string &line) {
  Words words(line);
  const std::string what = words.word();
  if (what == "name") {
    std::string &name = names_[static_cast<std::size_t>(words.whole(1, types_))];
    name = words.word();
  } else if (what == "bond") {
    Bond bond;
    bond.first = words.whole(1, atoms_);
    bond.second = words.whole(1, atoms_);
    for (int &cells : bond.image) cells = words.whole(-1000, 1000);
    bond.limit = words.length();
    between_[key(bond.first, bond.second)].push_back(bonds_.size());
    bonds_.push_back(bond);
  } else if (what == "bonding" || what == "apart") {
    const int type = words.whole(1, types_), other = words.whole(1, types_);
    const double limit = words.length();
    near(type, other) = near(other, type) = {limit, what == "bonding"};
  } else if (what == "loose") {
    const int first = words.whole(1, atoms_);
    loose_.insert(key(first, words.whole(1, atoms_)));
  } else if (what == "free") {
    free_[static_cast<std::size_t>(words.whole(1, atoms_))] = true;
  } else {
    throw std::invalid_argument("unknown entry " + what);
  }
  words.end();
}

Near &BondTable::near(int type, int other) {
  return near_[static_cast<std::size_t>(type * (types_ + 1) + other)];
}

const std::vector<std::size_t> &BondTable::between(int first, int second) const {
  static const std::vector<std::size_t> none;
  const auto found = between_.find(key(first, second));
  return found == between_.end() ? none : found->second;
}

bool BondTable::loose(int first, int second) const {
  return free_[static_cast<std::size_t>(first)] || free_[static_cast<std::size_t>(second)] ||
         loose_.count(key(first, second)) > 0;
}

BondGuard::BondGuard(BondTable table, std::int64_t hold) : table_(std::move(table)), hold_(hold) {
  vectors_.resize(table_.bonds().size());
  forget();
}

void BondGuard::forget() {
  intact_ = true;
  broken_since_.assign(table_.bonds().size(), -1);
  close_since_.clear();
  change_ = {};
}

void ClosePairs::add(const std::pair<int, int> &ids, const Close &close) {
  const auto [known, added] = try_emplace(ids, close);
  if (!added && close.distance < known->second.distance) known->second = close;
}

std::vector<double> ClosePairs::numbers() const {
  std::vector<double> flat;
  for (const auto &[ids, close] : *this)
    flat.insert(flat.end(), {static_cast<double>(ids.first), static_cast<double>(ids.second),
                             close.distance, close.limit, close.bonding ? 1.0 : 0.0});
  return flat;
}

ClosePairs ClosePairs::of(const std::vector<double> &numbers) {
  ClosePairs pairs;
  for (auto at = numbers.begin(); at != numbers.end(); at += 5)
    pairs.add({static_cast<int>(at[0]), static_cast<int>(at[1])}, {at[2], at[3], at[4] != 0.0});
  return pairs;
}

void BondGuard::look(std::int64_t step, const Places &places, const Complete &complete) {
  intact_ = true;
  change_ = {};
  look_at_bonds(step, places);
  look_at_pairs(step, places, complete);
}

void BondGuard::look_at_bonds(std::int64_t step, const Places &places) {
  const Box &h = places.box;  // xx yy zz yz xz xy
  for (std::size_t n = 0; n < vectors_.size(); ++n) {
    const Bond &bond = table_.bonds()[n];
    const double *from = places.whole + 3 * static_cast<std::size_t>(bond.first);
    const double *to = places.whole + 3 * static_cast<std::size_t>(bond.second);
    const double a = bond.image[0], b = bond.image[1], c = bond.image[2];
    vectors_[n] = {to[0] - from[0] + a * h[0] + b * h[5] + c * h[4],
                   to[1] - from[1] + b * h[1] + c * h[3], to[2] - from[2] + c * h[2]};
    const double length = square(vectors_[n].data());
    if (length <= bond.limit * bond.limit) {
      broken_since_[n] = -1;
      continue;
    }
    if (broken_since_[n] < 0) broken_since_[n] = step;
    const double value = std::sqrt(length);
    consider(step, broken_since_[n], {"bond broken", value, bond.limit, value / bond.limit},
             {bond.first, bond.second}, places);
  }
}

void BondGuard::look_at_pairs(std::int64_t step, const Places &places, const Complete &complete) {
  ClosePairs pairs = close_pairs(places);
  if (complete) complete(pairs);
  std::map<Pair, std::int64_t> since;
  for (const auto &[pair, close] : pairs) {
    const auto before = close_since_.find(pair);
    since[pair] = before == close_since_.end() ? step : before->second;
    consider(step, since[pair],
             {close.bonding ? "bond formed" : "pair too close", close.distance, close.limit,
              close.limit / close.distance},
             pair, places);
  }
  close_since_ = std::move(since);
}

/// Pairs within their limits that are not bonded: the nearest images of each.
ClosePairs BondGuard::close_pairs(const Places &places) const {
  ClosePairs found;
  const Neighbours &list = places.neighbours;
  for (int ii = 0; ii < list.inum; ++ii) {
    const int i = list.ilist[ii];
    const double *xi = places.positions + 3 * static_cast<std::size_t>(i);
    for (int jj = 0; jj < list.numneigh[i]; ++jj) {
      const int j = list.firstneigh[i][jj] & list.mask;
      const double *xj = places.positions + 3 * static_cast<std::size_t>(j);
      const double vector[3] = {xj[0] - xi[0], xj[1] - xi[1], xj[2] - xi[2]};
      const Near &near = table_.near(places.types[i], places.types[j]);
      const double length = square(vector);
      if (length >= near.limit * near.limit) continue;
      const int first = places.ids[i], second = places.ids[j];
      if (table_.loose(first, second) || bonded(first, second, vector)) continue;
      found.add({std::min(first, second), std::max(first, second)},
                {std::sqrt(length), near.limit, near.bonding});
    }
  }
  return found;
}

/// Whether a vector from one atom to an image of another is that of a bond.
bool BondGuard::bonded(int first, int second, const double *vector) const {
  for (const std::size_t n : table_.between(first, second)) {
    const Bond &bond = table_.bonds()[n];
    for (const double sign : {1.0, -1.0}) {
      if (first != second && (sign > 0) != (first == bond.first)) continue;
      const double apart[3] = {vector[0] - sign * vectors_[n][0], vector[1] - sign * vectors_[n][1],
                               vector[2] - sign * vectors_[n][2]};
      if (square(apart) < kSame * kSame) return true;
    }
  }
  return false;
}

/// A change that was first seen at the step `since`.
void BondGuard::consider(std::int64_t step, std::int64_t since, Finding finding, Pair pair,
                         const Places &places) {
  intact_ = false;
  if (step - since < hold_) return;
  const bool known = !change_.finding.reason.empty();
  if (known && change_.since <= since) return;
  const auto named = [&](int id) { return table_.name(places.type_of[id]) + std::to_string(id); };
  change_ = {std::move(finding), named(pair.first) + "\u2013" + named(pair.second), since};
}

}  // namespace phasewalk
