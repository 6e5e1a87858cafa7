// SPDX-License-Identifier: GPL-2.0-or-later
// Command phasewalk/draw: velocities of the cell and of Nose-Hoover chains from their
// distributions.
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
/// A fix nvt, npt or nph begins with its cell at rest and its chains empty. A walk in many short
/// runs would then begin each of them far from equilibrium: its cell has another temperature than
/// its atoms. Drawn from their distributions, as the velocities of atoms are, these variables leave
/// the ensemble as it is. The damping times are those of the fix (tri, chains of 3, mtk yes).
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
