// SPDX-License-Identifier: GPL-2.0-or-later
// Command phasewalk/draw: draw velocities of the cell and of Nose-Hoover chains.
#ifndef PHASEWALK_DRAW_H
#define PHASEWALK_DRAW_H

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "command.h"

namespace LAMMPS_NS {
class Fix;
}

namespace phasewalk {

/// phasewalk/draw fix-ID seed [thermostat Tdamp] [barostat Pdamp]
///
/// Fix nvt, npt and nph start with the cell at rest and all chain variables zero. In a series of
/// short runs, each run would then start far from equilibrium. This command draws these variables
/// from their equilibrium distributions, as usual for velocities of atoms, so that the ensemble
/// does not change. The damping times must be those of the fix (tri, chains of 3, mtk yes).
class Draw : public LAMMPS_NS::Command {
 public:
  static constexpr const char *kStyle = "phasewalk/draw";

  explicit Draw(LAMMPS_NS::LAMMPS *lmp) : Command(lmp) {}
  void command(int narg, char **arg) override;

 private:
  double freedom(const std::string &fix) const;
  std::vector<double> state(double freedom, double thermostat, double barostat);
  void check(LAMMPS_NS::Fix *fix, double thermostat, double barostat,
             const std::vector<double> &state) const;
  void draw(std::vector<double> &list, double width, int count);

  std::mt19937_64 random_;
};

}  // namespace phasewalk

#endif
