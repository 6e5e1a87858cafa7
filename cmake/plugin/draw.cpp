// SPDX-License-Identifier: GPL-2.0-or-later
#include "draw.h"

#include <cmath>
#include <numbers>

#include "atom.h"
#include "comm.h"
#include "compute.h"
#include "domain.h"
#include "error.h"
#include "fix.h"
#include "modify.h"

using namespace LAMMPS_NS;

namespace phasewalk {

namespace {

constexpr int kChain = 3;  // default of LAMMPS's tchain and pchain
constexpr int kCell = 6;   // three lengths, three tilts

}  // namespace

void Draw::command(int narg, char **arg) {
  if (narg < 4 || narg % 2)
    error->all(FLERR, "{}: expected fix-ID seed [thermostat Tdamp] [barostat Pdamp]", kStyle);
  if (!domain->box_exist) error->all(FLERR, "{} must come after the box is defined", kStyle);
  Fix *fix = modify->get_fix_by_id(arg[0]);
  if (!fix) error->all(FLERR, "{}: unknown fix {}", kStyle, arg[0]);
  random_.seed(static_cast<std::uint64_t>(utils::inumeric(FLERR, arg[1], false, lmp)));
  double thermostat = 0.0, barostat = 0.0;
  for (int i = 2; i < narg; i += 2) {
    const std::string keyword = arg[i];
    if (keyword != "thermostat" && keyword != "barostat")
      error->all(FLERR, "{}: unknown keyword {} (known: thermostat, barostat)", kStyle, keyword);
    const double damping = utils::numeric(FLERR, arg[i + 1], false, lmp);
    if (!(damping > 0.0))
      error->all(FLERR, "{}: {} {} must be greater than 0", kStyle, keyword, arg[i + 1]);
    (keyword == "thermostat" ? thermostat : barostat) = damping;
  }
  std::vector<double> drawn = state(thermostat > 0.0 ? freedom(arg[0]) : 1.0, thermostat, barostat);
  fix->restart(reinterpret_cast<char *>(drawn.data()));
  check(fix, thermostat, barostat, drawn);
}

/// Number of degrees of freedom of the thermostat of a fix.
double Draw::freedom(const std::string &fix) const {
  Compute *temperature = modify->get_compute_by_id(fix + "_temp");
  if (!temperature) error->all(FLERR, "{}: fix {} has no temperature compute", kStyle, fix);
  temperature->setup();  // sets dof
  if (temperature->dof < 1.0)
    error->all(FLERR, "{}: fix {} has {} degrees of freedom, at least 1 is needed", kStyle, fix,
               temperature->dof);
  return temperature->dof;
}

/// The state of fix nvt, npt or nph in the order of a restart file. The masses of these variables
/// are proportional to the temperature, so that the widths do not depend on it.
std::vector<double> Draw::state(double freedom, double thermostat, double barostat) {
  std::vector<double> list = {thermostat > 0.0 ? 1.0 : 0.0};
  if (thermostat > 0.0) {
    list.push_back(kChain);
    draw(list, 0.0, kChain);
    draw(list, 1.0 / (thermostat * std::sqrt(freedom)), 1);
    draw(list, 1.0 / thermostat, kChain - 1);
  }
  list.push_back(barostat > 0.0 ? 1.0 : 0.0);
  if (barostat > 0.0) {
    draw(list, 0.0, kCell);
    draw(list, 1.0 / (barostat * std::sqrt(static_cast<double>(atom->natoms) + 1.0)), kCell);
    list.push_back(domain->xprd * domain->yprd * domain->zprd);
    list.push_back(0.0);  // reference temperature: that of the fix
    list.push_back(kChain);
    draw(list, 0.0, kChain);
    draw(list, 1.0 / barostat, kChain);
    list.push_back(0.0);  // no reference cell
  }
  return list;
}

/// Append normal variates (Box-Muller, so that results do not depend on the standard library).
void Draw::draw(std::vector<double> &list, double width, int count) {
  for (int i = 0; i < count; ++i) {
    constexpr double kUnit = 0x1.0p-53;
    const double u = (static_cast<double>(random_() >> 11) + 1.0) * kUnit;
    const double v = static_cast<double>(random_() >> 11) * kUnit;
    list.push_back(width * std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v));
  }
}

/// Read back the state, because other versions of LAMMPS may have another format.
void Draw::check(Fix *fix, double thermostat, double barostat,
                 const std::vector<double> &state) const {
  const auto same = [&](int count, int its, std::size_t ours) {
    for (int i = 0; i < count; ++i)
      if (fix->compute_vector(its + i) != state[ours + static_cast<std::size_t>(i)])
        error->all(FLERR,
                   "{}: fix {} ({}) did not accept the drawn state: it must be nvt, npt tri or nph "
                   "tri with chains of {}",
                   kStyle, fix->id, fix->style, kChain);
  };
  int its = 0;
  std::size_t ours = 1;
  if (thermostat > 0.0) {
    same(2 * kChain, its, ours + 1);
    its += 2 * kChain;
    ours += 1 + 2 * kChain;
  }
  ++ours;
  if (barostat > 0.0) same(2 * kCell, its, ours);
}

}  // namespace phasewalk
