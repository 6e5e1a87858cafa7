// SPDX-License-Identifier: GPL-2.0-or-later
// The registration interface that LAMMPS documents for plugins ("Writing plugins" in its
// manual). Binary packages of LAMMPS do not ship the header, hence this declaration.
#ifndef PHASEWALK_LAMMPSPLUGIN_ABI_H
#define PHASEWALK_LAMMPSPLUGIN_ABI_H

extern "C" {

using lammpsplugin_factory1 = void *(void *lmp);
using lammpsplugin_factory2 = void *(void *lmp, int argc, char **argv);

struct lammpsplugin_t {
  const char *version;  ///< LAMMPS version that the plugin was built for, as in lmp->version
  const char *style;
  const char *name;
  const char *info;
  const char *author;
  union {
    lammpsplugin_factory1 *v1;
    lammpsplugin_factory2 *v2;
  } creator;
  void *handle;
};

using lammpsplugin_regfunc = void(lammpsplugin_t *plugin, void *lmp);
}

#endif
