// SPDX-License-Identifier: GPL-2.0-or-later
// Registration of all styles, called by LAMMPS when it loads the plugin.
#include "comm.h"
#include "draw.h"
#include "fix_plumed.h"
#include "fix_sentinel.h"
#include "guard.h"
#include "lammps.h"
#include "lammpsplugin_abi.h"
#include "modify.h"
#include "pair_nequip.h"
#include "phasewalk_stamp.h"

using namespace LAMMPS_NS;

namespace {

void *make_pair(void *lmp) {
  return phasewalk::make_guarded<phasewalk::GuardedPair<phasewalk::PairNequIP>>(lmp);
}

void *make_draw(void *lmp) {
  return phasewalk::make_guarded<phasewalk::GuardedCommand<phasewalk::Draw>>(lmp);
}

template <typename Style>
void *make_fix(void *lmp, int narg, char **arg) {
  return phasewalk::make_guarded<phasewalk::GuardedFix<Style>>(lmp, narg, arg);
}

/// Classes of other LAMMPS versions have another memory layout, so that using them would crash.
bool fits(LAMMPS *lmp) {
  if (PHASEWALK_LAMMPS_NUMBER == 0 || lmp->num_ver == PHASEWALK_LAMMPS_NUMBER) return true;
  if (lmp->comm->me == 0)
    utils::logmesg(lmp,
                   "ERROR: the phasewalk plugin was built for LAMMPS {}, but this is LAMMPS {}: "
                   "its styles are not available; build the plugin again\n",
                   PHASEWALK_LAMMPS_NUMBER, lmp->num_ver);
  return false;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) const char *phasewalk_plugin_stamp() {
  return PHASEWALK_STAMP;
}

__attribute__((visibility("default"))) void lammpsplugin_init(void *ptr, void *handle,
                                                              void *regfunc) {
  auto *lmp = static_cast<LAMMPS *>(ptr);
  auto *add = reinterpret_cast<lammpsplugin_regfunc *>(regfunc);
  if (!fits(lmp)) return;

  lammpsplugin_t plugin{};
  plugin.version = PHASEWALK_LAMMPS_NUMBER ? lmp->version : nullptr;
  plugin.author = "the phasewalk developers";
  plugin.handle = handle;

  plugin.style = "pair";
  plugin.name = "nequip";
  plugin.info = "NequIP pair style (phasewalk)";
  plugin.creator.v1 = make_pair;
  add(&plugin, lmp);

  plugin.style = "command";
  plugin.name = "phasewalk/draw";
  plugin.info = "Draw velocities of the cell and of thermostats (phasewalk)";
  plugin.creator.v1 = make_draw;
  add(&plugin, lmp);

  plugin.style = "fix";
  plugin.name = "phasewalk/sentinel";
  plugin.info = "Stop a walker that exceeds limits (phasewalk)";
  plugin.creator.v2 = make_fix<phasewalk::FixSentinel>;
  add(&plugin, lmp);

  if (lmp->modify->fix_map->count("plumed")) return;  // LAMMPS has its own
  plugin.name = "plumed";
  plugin.info = "PLUMED fix (phasewalk)";
  plugin.creator.v2 = make_fix<phasewalk::FixPlumed>;
  add(&plugin, lmp);
}
}
