// SPDX-License-Identifier: GPL-2.0-or-later
#include "pair_nequip.h"

#include <algorithm>
#include <cstdlib>
#include <unordered_map>

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "failure.h"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "stopper.h"
#include "universe.h"
#include "update.h"

using namespace LAMMPS_NS;

namespace phasewalk {

PairNequIP::PairNequIP(LAMMPS *lmp) : Pair(lmp) {
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  no_virial_fdotr_compute = 1;
  centroidstressflag = CENTROID_NOTAVAIL;
}

PairNequIP::~PairNequIP() {
  if (!allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
}

void PairNequIP::allocate() {
  const int n = atom->ntypes + 1;
  memory->create(setflag, n, n, "pair:setflag");
  memory->create(cutsq, n, n, "pair:cutsq");
  allocated = 1;
}

void PairNequIP::settings(int narg, char **arg) {
  timing_ = false;
  device_ = Device::automatic;
  for (int i = 0; i < narg; ++i) {
    const std::string keyword = arg[i];
    if (keyword == "timing") {
      timing_ = true;
    } else if (keyword == "device") {
      const std::string name = ++i < narg ? arg[i] : "nothing";
      if (name != "cpu" && name != "cuda")
        error->all(FLERR, "{}: device must be cpu or cuda, found {}", kStyle, name);
      device_ = name == "cpu" ? Device::cpu : Device::cuda;
    } else {
      error->all(FLERR,
                 "{}: unknown keyword '{}' (known: timing, device); give the model file in "
                 "pair_coeff * * MODEL TYPE1 TYPE2 ...",
                 kStyle, keyword);
    }
  }
  // new settings of a style with a loaded model: the model must be loaded again
  for (int i = 1; allocated && i <= atom->ntypes; ++i)
    for (int j = 1; j <= atom->ntypes; ++j) setflag[i][j] = 0;
}

void PairNequIP::coeff(int narg, char **arg) {
  if (narg != 3 + atom->ntypes || std::string(arg[0]) != "*" || std::string(arg[1]) != "*")
    error->all(FLERR,
               "expected pair_coeff * * MODEL and the model's type name of each of the {} "
               "atom types",
               atom->ntypes);
  if (!allocated) allocate();
  load(arg[2]);
  map_types(narg - 3, arg + 3);
}

/// Must not use collective calls: partitions call this at any time, or never after an error.
Gpu PairNequIP::pick_gpu() const {
  if (device_ == Device::cpu) return {};
  Rank rank;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank.number);
  MPI_Comm_size(MPI_COMM_WORLD, &rank.of);
  return choose_gpu(num_gpus(), rank, [](const char *name) { return std::getenv(name); });
}

void PairNequIP::load(const std::string &path) {
  Gpu gpu;
  const auto failure = failure_of([&] {
    gpu = pick_gpu();
    evaluator_ = open_model(path, device_, gpu.number);
    edges_ = std::make_unique<EdgeBuilder>(evaluator_->info().cutoffs);
  });
  if (failure) error->all(FLERR, "{}: {}", kStyle, *failure);
  const ModelInfo &info = evaluator_->info();
  const std::string chosen = info.device == "cpu" ? "" : " (chosen by " + gpu.chosen_by + ")";
  utils::logmesg(lmp, "NequIP model {}: {} on {}{}, cutoff {} A, types:", path, info.dtype,
                 info.device, chosen, info.cutoffs.max());
  for (const auto &name : info.type_names) utils::logmesg(lmp, " {}", name);
  utils::logmesg(lmp, "\n");
}

void PairNequIP::map_types(int narg, char **names) {
  const auto &known = evaluator_->info().type_names;
  model_types_.assign(atom->ntypes + 1, -1);
  for (int i = 0; i < narg; ++i) {
    const auto found = std::find(known.begin(), known.end(), names[i]);
    if (found == known.end()) {
      std::string list;
      for (const auto &name : known) list += " " + name;
      error->all(FLERR,
                 "pair_style nequip: atom type {} is mapped to '{}', which is not a type of the "
                 "model; its types are:{}",
                 i + 1, names[i], list);
    }
    model_types_[i + 1] = found - known.begin();
  }
  for (int i = 1; i <= atom->ntypes; ++i)
    for (int j = 1; j <= atom->ntypes; ++j) setflag[i][j] = 1;
}

void PairNequIP::init_style() {
  const std::string units = update->unit_style;
  if (units == "metal")
    energy_unit_ = 1.0;
  else if (units == "real")
    energy_unit_ = utils::get_conversion_factor(utils::ENERGY, utils::METAL2REAL);
  else
    error->all(FLERR, "pair_style nequip requires units metal or real, found units {}", units);
  if (!atom->tag_enable)
    error->all(FLERR, "pair_style nequip requires atom IDs: use atom_modify id yes");
  if (comm->nprocs > 1)
    error->all(FLERR,
               "pair_style nequip requires one MPI rank per partition, found {}: start "
               "more partitions (-partition {}x1) or fewer ranks",
               comm->nprocs, universe->nprocs);
  if (!uses_all_neighbours())
    error->all(FLERR,
               "pair_style nequip requires all neighbours: use special_bonds lj/coul 1 1 1 "
               "and no neigh_modify exclude");
  neighbor->add_request(this, NeighConst::REQ_FULL);
}

bool PairNequIP::uses_all_neighbours() const {
  if (neighbor->nex_type || neighbor->nex_group || neighbor->nex_mol) return false;
  if (atom->molecular == Atom::ATOMIC) return true;
  for (int i = 1; i <= 3; ++i)
    if (force->special_lj[i] == 0.0 && force->special_coul[i] == 0.0) return false;
  return true;
}

double PairNequIP::init_one(int i, int j) {
  const Cutoffs &cutoffs = edges_->cutoffs();
  const auto a = model_types_[i], b = model_types_[j];
  return std::max(cutoffs(a, b), cutoffs(b, a));
}

/// Find the owned atom of each ghost by its ID.
void PairNequIP::find_owners() {
  std::unordered_map<tagint, int> local;
  for (int i = 0; i < atom->nlocal; ++i) local[atom->tag[i]] = i;
  owners_.resize(atom->nlocal + atom->nghost);
  for (std::size_t j = 0; j < owners_.size(); ++j) {
    const auto found = local.find(atom->tag[j]);
    owners_[j] = found == local.end() ? -1 : found->second;
  }
}

Frame PairNequIP::make_frame() {
  types_.resize(atom->nlocal);
  for (int i = 0; i < atom->nlocal; ++i) types_[i] = model_types_[atom->type[i]];
  const double *h = domain->h;  // xx yy zz yz xz xy
  const Atoms atoms = {atom->nlocal,
                       atom->nlocal + atom->nghost,
                       atom->x[0],
                       types_.data(),
                       {h[0], 0.0, 0.0, h[5], h[1], 0.0, h[4], h[3], h[2]}};
  if (neighbor->ago == 0 || edges_->num_images() != atoms.nall) {
    find_owners();
    edges_->set_images(atoms, owners_);
  }
  edges_->build(atoms, {list->inum, list->ilist, list->numneigh, list->firstneigh, NEIGHMASK});
  return {atoms.nlocal,  edges_->num_edges(),         atoms.positions,
          types_.data(), edges_->edge_index().data(), edges_->shifts().data(),
          atoms.cell};
}

void PairNequIP::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  if (vflag_atom || cvflag_atom)
    error->all(FLERR,
               "pair_style nequip has no per-atom virial: remove compute stress/atom and similar "
               "computes; the global pressure is available");
  if (atom->nlocal == 0) return;
  const double begin = platform::walltime();
  const auto failure = failure_of([&] {
    frames_.assign(1, make_frame());
    const double before = platform::walltime();
    evaluator_->evaluate(frames_, predictions_);
    model_seconds_ += platform::walltime() - before;
  });
  if (failure) {
    if (Stopper *stopper = stopper_of(lmp); stopper && stopper->trip("model", *failure)) return;
    error->one(FLERR, "{}, step {}: {}", kStyle, update->ntimestep, *failure);
  }
  add(predictions_[0]);
  seconds_ += platform::walltime() - begin;
  ++calls_;
}

/// Print the time per step at the end of a run if `timing` is set.
void PairNequIP::finish() {
  if (timing_ && calls_ > 0)
    utils::logmesg(
        lmp, "pair_style nequip: {} calls, {:.4f} ms each in the model, {:.4f} ms outside of it\n",
        calls_, 1000.0 * model_seconds_ / calls_, 1000.0 * (seconds_ - model_seconds_) / calls_);
  calls_ = 0;
  model_seconds_ = seconds_ = 0.0;
}

void PairNequIP::add(const Prediction &prediction) {
  double *f = atom->f[0];
  for (std::size_t k = 0; k < prediction.forces.size(); ++k)
    f[k] += energy_unit_ * prediction.forces[k];
  if (eflag_global) eng_vdwl += energy_unit_ * prediction.energy;
  if (eflag_atom)
    for (int i = 0; i < atom->nlocal; ++i) eatom[i] += energy_unit_ * prediction.atom_energies[i];
  if (vflag_global)
    for (int k = 0; k < 6; ++k) virial[k] += energy_unit_ * prediction.virial[k];
}

}  // namespace phasewalk
