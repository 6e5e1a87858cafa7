// SPDX-License-Identifier: GPL-2.0-or-later
#define CATCH_MAIN
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bonds.h"
#include "catch.h"

using namespace phasewalk;

namespace {

/// Atoms in a box without its boundaries, and all pairs within `reach` as LAMMPS would list them:
/// each once, with ghosts for the images, and the atoms in another order than their IDs.
struct Scene {
  std::vector<double> whole;  // by ID x 3; that of ID 0 is not used
  std::vector<int> type_of;
  Box box{};

  std::vector<double> positions;
  std::vector<int> types, ids, ilist, numneigh;
  std::vector<std::vector<int>> lists;
  std::vector<int *> first;

  Scene(std::vector<double> where, std::vector<int> kinds, const Box &h)
      : whole(3, 0.0), type_of(1, 0), box(h) {
    whole.insert(whole.end(), where.begin(), where.end());
    type_of.insert(type_of.end(), kinds.begin(), kinds.end());
  }

  Places places(double reach = 3.0) {
    const int count = static_cast<int>(type_of.size()) - 1;
    positions.clear(), types.clear(), ids.clear(), lists.clear(), first.clear();
    const auto add = [&](int id, int a, int b, int c) {
      const double *x = &whole[3 * static_cast<std::size_t>(id)];
      positions.insert(positions.end(), {x[0] + a * box[0] + b * box[5] + c * box[4],
                                         x[1] + b * box[1] + c * box[3], x[2] + c * box[2]});
      types.push_back(type_of[static_cast<std::size_t>(id)]);
      ids.push_back(id);
    };
    for (int id = count; id >= 1; --id) add(id, 0, 0, 0);
    for (int a = -2; a <= 2; ++a)
      for (int b = -2; b <= 2; ++b)
        for (int c = -2; c <= 2; ++c)
          for (int id = 1; id <= count; ++id)
            if (a || b || c) add(id, a, b, c);
    ilist.clear(), numneigh.clear();
    for (int i = 0; i < count; ++i) {
      std::vector<int> mine;
      for (int j = i + 1; j < static_cast<int>(ids.size()); ++j) {
        double square = 0.0;
        for (std::size_t k = 0; k < 3; ++k) {
          const double d = positions[3 * static_cast<std::size_t>(j) + k] -
                           positions[3 * static_cast<std::size_t>(i) + k];
          square += d * d;
        }
        if (square < reach * reach) mine.push_back(j | 1 << 30);  // with a flag bit
      }
      ilist.push_back(i);
      numneigh.push_back(static_cast<int>(mine.size()));
      lists.push_back(std::move(mine));
    }
    for (auto &mine : lists) first.push_back(mine.data());
    Places found;
    found.whole = whole.data();
    found.type_of = type_of.data();
    found.positions = positions.data();
    found.types = types.data();
    found.ids = ids.data();
    found.neighbours = {count, ilist.data(), numneigh.data(), first.data(), (1 << 30) - 1};
    found.box = box;
    return found;
  }

  double &x(int id) { return whole[3 * static_cast<std::size_t>(id)]; }
};

const Box kCube = {20.0, 20.0, 20.0, 0.0, 0.0, 0.0};

/// Two bonded atoms and a third one; nearer than 1.2 the types would bond.
const char *const kThree =
    "name 1 H  # of type 1\n"
    "name 2 O\n"
    "\n"
    "bond 1 2 0 0 0 1.4\n"
    "bonding 1 2 1.2\n"
    "apart 1 1 0.8\n";

Scene three() { return Scene({0, 0, 0, 1, 0, 0, 4, 0, 0}, {1, 2, 1}, kCube); }

std::string reason(const BondGuard &guard) { return guard.change().finding.reason; }

}  // namespace

TEST_CASE("an intact structure is left alone") {
  BondGuard guard(BondTable(kThree, 2, 3), 0);
  Scene scene = three();
  guard.look(0, scene.places());
  CHECK(guard.intact());
  CHECK(reason(guard).empty());
}

TEST_CASE("a bond is broken where it stays long, and not where it vibrates") {
  BondGuard guard(BondTable(kThree, 2, 3), 10);
  Scene scene = three();
  scene.x(1) = -0.5;
  guard.look(0, scene.places());
  CHECK(!guard.intact());
  CHECK(reason(guard).empty());
  guard.look(9, scene.places());
  CHECK(reason(guard).empty());
  scene.x(1) = 0.0;  // it swings back
  guard.look(10, scene.places());
  CHECK(guard.intact());
  scene.x(1) = -0.5;
  guard.look(12, scene.places());
  guard.look(21, scene.places());
  CHECK(reason(guard).empty());
  guard.look(22, scene.places());
  CHECK(reason(guard) == "bond broken");
  CHECK(guard.change().atoms == "H1\u2013O2");
  CHECK(guard.change().since == 12);
  CHECK(guard.change().finding.value == Approx(1.5));
  CHECK(guard.change().finding.limit == 1.4);
  CHECK(guard.change().finding.fraction > 1.0);
  guard.forget();
  guard.look(23, scene.places());
  CHECK(reason(guard).empty());
}

TEST_CASE("a pair that stays near is a new bond") {
  BondGuard guard(BondTable(kThree, 2, 3), 10);
  Scene scene = three();
  scene.x(3) = 2.1;
  guard.look(0, scene.places());
  scene.x(3) = 2.3;
  guard.look(5, scene.places());
  CHECK(guard.intact());
  scene.x(3) = 2.1;
  guard.look(10, scene.places());
  guard.look(19, scene.places());
  CHECK(!guard.intact());
  CHECK(reason(guard).empty());
  guard.look(20, scene.places());
  CHECK(reason(guard) == "bond formed");
  CHECK(guard.change().atoms == "O2\u2013H3");
  CHECK(guard.change().finding.value == Approx(1.1));
  CHECK(guard.change().finding.fraction > 1.0);
}

TEST_CASE("atoms that form no bonds are too close") {
  BondGuard guard(BondTable(kThree, 2, 3), 0);
  Scene scene = three();
  scene.x(3) = -0.7;
  guard.look(7, scene.places());
  CHECK(reason(guard) == "pair too close");
  CHECK(guard.change().atoms == "H1\u2013H3");
}

TEST_CASE("the change that has lasted longest is told") {
  BondGuard guard(BondTable(kThree, 2, 3), 10);
  Scene scene = three();
  scene.x(3) = 2.1;
  guard.look(0, scene.places());
  scene.x(1) = -3.0;
  guard.look(5, scene.places());
  guard.look(20, scene.places());
  CHECK(reason(guard) == "bond formed");
  CHECK(guard.change().since == 0);
}

TEST_CASE("what is not watched may do as it likes") {
  Scene scene = three();
  scene.x(3) = 2.1;
  for (const char *more : {"loose 3 2\n", "free 3\n", "free 2\n"}) {
    BondGuard guard(BondTable(std::string(kThree) + more, 2, 3), 0);
    guard.look(0, scene.places());
    CHECK(guard.intact());
  }
}

TEST_CASE("a bond across the boundary of a tilted box goes along with the box") {
  const Box tilted = {6.0, 5.0, 4.0, 1.0, -2.0, 2.5};  // xx yy zz yz xz xy
  // to the image (1, -1, 1) of the second: 6 - 2.5 - 2 = 1.5, -5 + 1 = -4, 4
  Scene scene({0, 0, 0, -0.5, 4.0, -4.0}, {1, 2}, tilted);
  BondGuard guard(BondTable("bond 1 2 1 -1 1 1.4\nbonding 1 2 1.2\n", 2, 2), 0);
  guard.look(0, scene.places());
  CHECK(guard.intact());
  scene.box[0] = 6.5;  // 1.5 long now
  guard.look(1, scene.places());
  CHECK(reason(guard) == "bond broken");
  CHECK(guard.change().finding.value == Approx(1.5));
}

TEST_CASE("atoms may leave their box") {
  Scene scene = three();
  for (const int id : {1, 2}) scene.x(id) += 45.0;
  BondGuard guard(BondTable(kThree, 2, 3), 0);
  guard.look(0, scene.places());
  CHECK(guard.intact());
}

TEST_CASE("bonds to an atom's own image, and several to images of one other") {
  // a chain of one atom along x, and a second atom between two images of the first
  Scene chain({0, 0, 0}, {1}, {1.5, 20.0, 20.0, 0.0, 0.0, 0.0});
  BondGuard own(BondTable("bond 1 1 1 0 0 2.0\nbonding 1 1 1.8\n", 1, 1), 0);
  own.look(0, chain.places(2.0));
  CHECK(own.intact());
  BondGuard none(BondTable("bonding 1 1 1.8\n", 1, 1), 0);
  none.look(0, chain.places(2.0));
  CHECK(reason(none) == "bond formed");
  CHECK(none.change().atoms == "atom 1\u2013atom 1");
  chain.box[0] = 2.1;
  own.look(1, chain.places(2.0));
  CHECK(reason(own) == "bond broken");

  Scene two({0, 0, 0, 1.5, 0, 0}, {1, 1}, {3.0, 20.0, 20.0, 0.0, 0.0, 0.0});
  BondGuard both(BondTable("bond 1 2 0 0 0 2.0\nbond 1 2 -1 0 0 2.0\nbonding 1 1 1.8\n", 1, 2), 0);
  both.look(0, two.places(2.0));
  CHECK(both.intact());
  two.x(2) = 0.9;  // nearer to the one image, and 2.1 from the other
  both.look(1, two.places(2.0));
  CHECK(reason(both) == "bond broken");
  two.x(2) = 1.5;
  BondGuard first(BondTable("bond 1 2 0 0 0 2.0\nbonding 1 1 1.8\n", 1, 2), 0);
  first.look(0, two.places(2.0));
  CHECK(reason(first) == "bond formed");  // with the other image
}

TEST_CASE("a table that cannot be read names the line") {
  struct Case {
    const char *text, *says;
  };
  const Case one =
      GENERATE(Case{"bond 1 2 0 0 0\n", "line 1: expected a length"},
               Case{"\nbond 1 9 0 0 0 1.0\n", "line 2: expected a whole number from 1 to 3"},
               Case{"bond 1 2 0 0 0 -1.0\n", "line 1: expected a length"},
               Case{"bond 1 2 0 0 0 1.0 7\n", "line 1: does not end before 7"},
               Case{"near 1 2 1.0\n", "line 1: unknown entry near"},
               Case{"apart 1 3 1.0\n", "line 1: expected a whole number from 1 to 2"},
               Case{"name 1\n", "line 1: a word is missing"},
               Case{"free 0\n", "line 1: expected a whole number"});
  try {
    const BondTable table(one.text, 2, 3);
    FAIL("it was read");
  } catch (const std::invalid_argument &error) {
    CHECK(std::string(error.what()).find(one.says) == 0);
  }
}

TEST_CASE("pairs that another rank has found count like own ones") {
  BondGuard guard(BondTable("name 1 A\napart 1 1 1.5\n", 1, 2), 10);
  Scene far({0, 0, 0, 4, 0, 0}, {1, 1}, kCube);
  const auto others = [](ClosePairs &pairs) {
    CHECK(pairs.empty());
    ClosePairs theirs;
    theirs.add({1, 2}, {1.2, 1.5, false});
    theirs.add({1, 2}, {1.1, 1.5, false});  // a nearer image
    theirs.add({1, 2}, {1.3, 1.5, false});
    pairs = ClosePairs::of(theirs.numbers());
  };
  guard.look(0, far.places(), others);
  CHECK_FALSE(guard.intact());
  CHECK(guard.change().finding.reason.empty());
  guard.look(10, far.places(), others);
  CHECK(guard.change().finding.reason == "pair too close");
  CHECK(guard.change().finding.value == 1.1);
  CHECK(guard.change().since == 0);
  guard.look(11, far.places());
  CHECK(guard.intact());
}

TEST_CASE("an empty table watches nothing") {
  BondGuard guard(BondTable("# none\n", 1, 3), 0);
  Scene scene({0, 0, 0, 0.1, 0, 0, 0.2, 0, 0}, {1, 1, 1}, kCube);
  guard.look(0, scene.places());
  CHECK(guard.intact());
}
