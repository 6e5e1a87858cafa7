// SPDX-License-Identifier: GPL-2.0-or-later
#define CATCH_MAIN
#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <stdexcept>
#include <tuple>

#include "catch.h"
#include "edge_builder.h"

using namespace phasewalk;

namespace {

using Edge = std::tuple<std::int64_t, std::int64_t, int, int, int>;  // centre, neighbour, shift

/// Owned atoms and every image within `reach` cells of them, with the lists LAMMPS would make.
struct Scene {
  Cell cell{};
  int nlocal = 0;
  std::vector<double> positions;
  std::vector<std::int64_t> types;
  std::vector<int> owners;
  std::vector<int> ilist, numneigh;
  std::vector<std::vector<int>> neighbours;
  std::vector<int *> firstneigh;

  Atoms atoms() const {
    return {nlocal, static_cast<int>(owners.size()), positions.data(), types.data(), cell};
  }
  Neighbours lists() const {
    return {static_cast<int>(ilist.size()), ilist.data(), numneigh.data(), firstneigh.data(),
            0x1FFFFFFF};
  }
};

std::array<double, 3> image(const Cell &c, const double *x, const std::array<int, 3> &s) {
  std::array<double, 3> y;
  for (int k = 0; k < 3; ++k) y[k] = x[k] + s[0] * c[k] + s[1] * c[3 + k] + s[2] * c[6 + k];
  return y;
}

double distance(const double *a, const double *b) {
  return std::sqrt(std::pow(a[0] - b[0], 2) + std::pow(a[1] - b[1], 2) + std::pow(a[2] - b[2], 2));
}

Scene make_scene(const Cell &cell, int nlocal, int num_types, int reach, double list_cutoff,
                 unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> uniform(-0.2, 1.2);  // some atoms outside of the cell
  Scene scene;
  scene.cell = cell;
  scene.nlocal = nlocal;
  for (int i = 0; i < nlocal; ++i) {
    const double f[3] = {uniform(random), uniform(random), uniform(random)};
    for (int k = 0; k < 3; ++k)
      scene.positions.push_back(f[0] * cell[k] + f[1] * cell[3 + k] + f[2] * cell[6 + k]);
    scene.types.push_back(i % num_types);
    scene.owners.push_back(i);
  }
  for (int a = -reach; a <= reach; ++a)
    for (int b = -reach; b <= reach; ++b)
      for (int c = -reach; c <= reach; ++c) {
        if (a == 0 && b == 0 && c == 0) continue;
        for (int i = 0; i < nlocal; ++i) {
          const auto ghost = image(cell, &scene.positions[3 * i], {a, b, c});
          scene.positions.insert(scene.positions.end(), ghost.begin(), ghost.end());
          scene.owners.push_back(i);
        }
      }
  for (int i = 0; i < nlocal; ++i) {
    std::vector<int> list;
    for (int j = 0; j < static_cast<int>(scene.owners.size()); ++j)
      if (j != i && distance(&scene.positions[3 * i], &scene.positions[3 * j]) < list_cutoff)
        list.push_back(j | (j % 4) << 30);  // with flag bits, as LAMMPS has them
    scene.ilist.push_back(nlocal - 1 - i);  // any order
    scene.numneigh.push_back(static_cast<int>(list.size()));
    scene.neighbours.push_back(std::move(list));
  }
  for (auto &list : scene.neighbours) scene.firstneigh.push_back(list.data());
  return scene;
}

/// Every pair within its cutoff, straight from the definition.
std::vector<Edge> brute_force(const Scene &scene, const Cutoffs &cutoffs, int reach) {
  std::vector<Edge> edges;
  for (int i = 0; i < scene.nlocal; ++i)
    for (int j = 0; j < scene.nlocal; ++j)
      for (int a = -reach; a <= reach; ++a)
        for (int b = -reach; b <= reach; ++b)
          for (int c = -reach; c <= reach; ++c) {
            if (i == j && a == 0 && b == 0 && c == 0) continue;
            const auto other = image(scene.cell, &scene.positions[3 * j], {a, b, c});
            if (distance(&scene.positions[3 * i], other.data()) <
                cutoffs(scene.types[i], scene.types[j]))
              edges.emplace_back(i, j, a, b, c);
          }
  std::sort(edges.begin(), edges.end());
  return edges;
}

std::vector<Edge> built(const EdgeBuilder &builder) {
  std::vector<Edge> edges;
  const auto n = builder.num_edges();
  const auto &index = builder.edge_index();
  const auto &shift = builder.shifts();
  REQUIRE(index.size() == static_cast<std::size_t>(2 * n));
  for (std::int64_t e = 0; e < n; ++e)
    edges.emplace_back(index[e], index[n + e], static_cast<int>(shift[3 * e]),
                       static_cast<int>(shift[3 * e + 1]), static_cast<int>(shift[3 * e + 2]));
  std::sort(edges.begin(), edges.end());
  return edges;
}

void compare(const Cell &cell, int nlocal, const Cutoffs &cutoffs, int reach) {
  const Scene scene = make_scene(cell, nlocal, cutoffs.num_types(), reach, cutoffs.max() + 1.0, 3);
  EdgeBuilder builder(cutoffs);
  builder.set_images(scene.atoms(), scene.owners);
  builder.build(scene.atoms(), scene.lists());
  const auto expected = brute_force(scene, cutoffs, reach);
  REQUIRE(expected.size() > 10);
  CHECK(built(builder) == expected);
}

const Cell kOrthogonal = {7.0, 0, 0, 0, 6.0, 0, 0, 0, 8.0};
const Cell kTilted = {6.0, 0, 0, 2.9, 5.5, 0, -2.8, 2.6, 5.0};
const Cell kSmall = {2.1, 0, 0, 0.9, 2.3, 0, -0.8, 1.0, 2.0};  // far shorter than the cutoff

}  // namespace

TEST_CASE("edges equal a brute-force search") {
  SECTION("orthogonal") { compare(kOrthogonal, 12, Cutoffs(2, 3.5), 2); }
  SECTION("strongly tilted") { compare(kTilted, 10, Cutoffs(2, 3.5), 2); }
  SECTION("shorter than the cutoff") { compare(kSmall, 3, Cutoffs(1, 4.0), 6); }
  SECTION("one atom and its own images") { compare(kSmall, 1, Cutoffs(1, 4.0), 6); }
}

TEST_CASE("the cutoff belongs to the ordered pair of types") {
  const Cutoffs cutoffs(2, {3.5, 2.0, 3.0, 1.5});
  CHECK(cutoffs.max() == 3.5);
  CHECK(cutoffs(0, 1) == 2.0);
  compare(kTilted, 10, cutoffs, 2);
}

TEST_CASE("edges follow atoms that move between two neighbour lists") {
  const Cutoffs cutoffs(1, 3.5);
  Scene scene = make_scene(kTilted, 8, 1, 2, 4.5, 5);
  EdgeBuilder builder(cutoffs);
  builder.set_images(scene.atoms(), scene.owners);
  // ghosts move with their owners; the box breathes
  Cell grown = scene.cell;
  for (double &h : grown) h *= 1.02;
  for (double &x : scene.positions) x *= 1.02;
  scene.cell = grown;
  for (std::size_t j = 0; j < scene.owners.size(); ++j)
    scene.positions[3 * j] += 0.05 * scene.owners[j];
  builder.build(scene.atoms(), scene.lists());
  CHECK(built(builder) == brute_force(scene, cutoffs, 2));
}

TEST_CASE("an isolated atom has no edges") {
  const Cell cell = {20.0, 0, 0, 0, 20.0, 0, 0, 0, 20.0};
  const Scene scene = make_scene(cell, 1, 1, 1, 5.0, 1);
  EdgeBuilder builder(Cutoffs(1, 4.0));
  builder.set_images(scene.atoms(), scene.owners);
  builder.build(scene.atoms(), scene.lists());
  CHECK(builder.num_edges() == 0);
  CHECK(builder.edge_index().empty());
}

TEST_CASE("ghosts that are kept are ends of the same edges, without shifts") {
  const Cutoffs cutoffs(2, {3.5, 2.0, 3.0, 1.5});
  Scene scene = make_scene(kTilted, 10, 2, 2, 4.5, 3);
  EdgeBuilder builder(cutoffs);
  builder.set_images(scene.atoms(), scene.owners);
  builder.build(scene.atoms(), scene.lists());
  const auto index = builder.edge_index();
  for (std::size_t j = 10; j < scene.owners.size(); ++j)
    scene.types.push_back(scene.types[static_cast<std::size_t>(scene.owners[j])]);
  builder.keep_ghosts(scene.atoms());
  CHECK(builder.num_images() == static_cast<int>(scene.owners.size()));
  builder.build(scene.atoms(), scene.lists());
  auto kept = builder.edge_index();
  REQUIRE(kept.size() == index.size());
  CHECK(*std::max_element(kept.begin(), kept.end()) >= scene.nlocal);
  for (auto &atom : kept) atom = scene.owners[static_cast<std::size_t>(atom)];
  CHECK(kept == index);
  CHECK(builder.shifts().empty());
  CHECK(builder.num_edges() == static_cast<std::int64_t>(index.size() / 2));
}

TEST_CASE("bad input is refused") {
  Scene scene = make_scene(kOrthogonal, 4, 1, 1, 4.0, 1);
  EdgeBuilder builder(Cutoffs(1, 3.0));
  CHECK_THROWS_AS(builder.build(scene.atoms(), scene.lists()), std::invalid_argument);
  auto owners = scene.owners;
  owners[7] = -1;  // a ghost of another rank
  CHECK_THROWS_AS(builder.set_images(scene.atoms(), owners), std::invalid_argument);
  scene.cell = {1, 0, 0, 2, 0, 0, 0, 0, 1};
  CHECK_THROWS_AS(builder.set_images(scene.atoms(), scene.owners), std::invalid_argument);
  CHECK_THROWS_AS(Cutoffs(2, std::vector<double>{1.0, 2.0, 3.0}), std::invalid_argument);
  CHECK_THROWS_AS(Cutoffs(1, -1.0), std::invalid_argument);
}
