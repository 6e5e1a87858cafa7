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
#include "gathering.h"
#include "masses.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "stopper.h"
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

/// The file for several ranks beside a model's file: model.exchange.nequip.pth.
std::string PairNequIP::file_for_ranks(const std::string &path) const {
  const auto place = path.rfind(".nequip.");
  const std::string marked = ".exchange";
  if (place == std::string::npos) return path;  // no model's file, which is said when it is opened
  if (place >= marked.size() && path.compare(place - marked.size(), marked.size(), marked) == 0)
    return path;
  const std::string file = path.substr(0, place) + marked + path.substr(place);
  if (!platform::file_is_readable(file))
    throw ModelError("on " + std::to_string(comm->nprocs) + " MPI ranks the file " + file +
                     " is needed beside " + platform::path_basename(path) +
                     "; make it with phasewalk deploy CHECKPOINT --target ranks" +
                     (utils::strmatch(path, "pt2$") ? " --mode aotinductor" : "") + " -o " + file);
  return file;
}

/// Stop on all ranks if one has failed, with the message of the first.
void PairNequIP::all_stop(const std::optional<std::string> &failure) const {
  int first = failure ? comm->me : comm->nprocs;
  MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, world);
  if (first == comm->nprocs) return;
  error->all(FLERR, "{}: {}", kStyle, text_of(world, first, failure.value_or("")));
}

/// Two ranks on one GPU would take turns, and be slower than one rank.
void PairNequIP::check_gpus(int gpu) const {
  std::vector<std::string> identities;
  for (int rank = 0; rank < comm->nprocs; ++rank)
    identities.push_back(text_of(world, rank, rank == comm->me ? gpu_identity(gpu) : ""));
  if (const auto two = same_gpu(identities))
    error->all(FLERR, "{}: ranks {} and {} have the same GPU: use at most one rank per GPU", kStyle,
               two->first, two->second);
}

void PairNequIP::load(const std::string &named) {
  Gpu gpu;
  std::string path = named;
  all_stop(failure_of([&] {
    gpu = pick_gpu();
    if (comm->nprocs > 1) path = file_for_ranks(named);
    evaluator_ = open_model(path, device_, gpu.number);
    edges_ = std::make_unique<EdgeBuilder>(evaluator_->info().cutoffs);
    if (comm->nprocs > 1 && !on_ranks())
      throw ModelError("model file " + path + " is for one MPI rank, found " +
                       std::to_string(comm->nprocs) +
                       "; make one with phasewalk deploy CHECKPOINT --target ranks");
  }));
  const ModelInfo &info = evaluator_->info();
  if (comm->nprocs > 1 && info.device != "cpu") check_gpus(gpu.number);
  // LAMMPS makes its buffers of this size; forces have three numbers
  comm_forward = comm_reverse = comm_reverse_off = on_ranks() ? std::max(3, info.exchanged) : 0;
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
  check_masses();
  if (!atom->tag_enable)
    error->all(FLERR, "pair_style nequip requires atom IDs: use atom_modify id yes");
  if (!uses_all_neighbours())
    error->all(FLERR,
               "pair_style nequip requires all neighbours: use special_bonds lj/coul 1 1 1 "
               "and no neigh_modify exclude");
  neighbor->add_request(this, NeighConst::REQ_FULL);
}

/// Elements in the wrong order would give a run of nonsense.
void PairNequIP::check_masses() const {
  if (!atom->mass) return;  // each atom has its own
  const auto &known = evaluator_->info().type_names;
  std::vector<std::string> names;
  std::vector<double> masses;
  for (int i = 1; i <= atom->ntypes; ++i) {
    names.push_back(known[model_types_[i]]);
    masses.push_back(atom->mass_setflag[i] ? atom->mass[i] : 0.0);
  }
  if (const auto found = misnamed(names, masses, known))
    error->all(
        FLERR,
        "pair_style nequip: pair_coeff names {} for atom type {}, whose mass {:g} is that of "
        "{}; name the elements in the order of the atom types",
        names[found->type - 1], found->type, masses[found->type - 1], found->element);
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
  const int nall = atom->nlocal + atom->nghost;
  types_.resize(on_ranks() ? nall : atom->nlocal);
  for (std::size_t i = 0; i < types_.size(); ++i) types_[i] = model_types_[atom->type[i]];
  const double *h = domain->h;  // xx yy zz yz xz xy
  const Atoms atoms = {atom->nlocal,
                       nall,
                       nall ? atom->x[0] : nullptr,
                       types_.data(),
                       {h[0], 0.0, 0.0, h[5], h[1], 0.0, h[4], h[3], h[2]}};
  if (neighbor->ago == 0 || edges_->num_images() != atoms.nall) {
    if (on_ranks()) {
      edges_->keep_ghosts(atoms);
    } else {
      find_owners();
      edges_->set_images(atoms, owners_);
    }
  }
  edges_->build(atoms, {list->inum, list->ilist, list->numneigh, list->firstneigh, NEIGHMASK});
  return {atoms.nlocal,  edges_->num_edges(),          atoms.positions,
          types_.data(), edges_->edge_index().data(),  edges_->shifts().data(),
          atoms.cell,    on_ranks() ? atom->nghost : 0};
}

void PairNequIP::evaluate() {
  const UseRanks use(*this);
  evaluator_->evaluate(frames_, predictions_);
}

void PairNequIP::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  if (vflag_atom || cvflag_atom)
    error->all(FLERR,
               "pair_style nequip has no per-atom virial: remove compute stress/atom and similar "
               "computes; the global pressure is available");
  if (atom->nlocal == 0 && !on_ranks()) return;
  const double begin = platform::walltime();
  const auto failure = failure_of([&] {
    frames_.assign(1, make_frame());
    const double before = platform::walltime();
    evaluate();
    model_seconds_ += platform::walltime() - before;
  });
  if (failure) {
    // the other ranks wait in an exchange: they can only be ended
    if (comm->nprocs > 1)
      error->one(FLERR, "{}, step {}, rank {}: {}", kStyle, update->ntimestep, comm->me, *failure);
    if (Stopper *stopper = stopper_of(lmp); stopper && stopper->trip("model", *failure)) return;
    error->one(FLERR, "{}, step {}: {}", kStyle, update->ntimestep, *failure);
  }
  add(predictions_[0]);
  seconds_ += platform::walltime() - begin;
  ++calls_;
}

/// Print the time per step at the end of a run if `timing` is set.
void PairNequIP::finish() {
  if (timing_ && calls_ > 0) {
    utils::logmesg(
        lmp, "pair_style nequip: {} calls, {:.4f} ms each in the model, {:.4f} ms outside of it\n",
        calls_, 1000.0 * model_seconds_ / calls_, 1000.0 * (seconds_ - model_seconds_) / calls_);
    if (on_ranks())
      utils::logmesg(lmp, "pair_style nequip: {:.4f} ms of those in the model for exchanges\n",
                     1000.0 * exchange_seconds_ / calls_);
  }
  calls_ = 0;
  model_seconds_ = seconds_ = exchange_seconds_ = 0.0;
}

// ---- exchanges between ranks, called by the model's operators
// ------------------------------------

void PairNequIP::forward(const Rows &rows) {
  const double begin = platform::walltime();
  rows_ = rows;
  comm->forward_comm(this, rows.width);
  exchange_seconds_ += platform::walltime() - begin;
}

void PairNequIP::reverse(const Rows &rows) {
  const double begin = platform::walltime();
  rows_ = rows;
  comm->reverse_comm(this, rows.width);
  exchange_seconds_ += platform::walltime() - begin;
}

/// The row of an atom: atoms that exist only in the model are before the ghosts.
double *PairNequIP::row(int i) const {
  const std::int64_t added = rows_.count - atom->nlocal - atom->nghost;
  return rows_.data + rows_.width * (i + (i < atom->nlocal ? 0 : added));
}

int PairNequIP::pack_forward_comm(int count, int *atoms, double *buffer, int, int *) {
  for (int i = 0; i < count; ++i) buffer = std::copy_n(row(atoms[i]), rows_.width, buffer);
  return count * rows_.width;
}

void PairNequIP::unpack_forward_comm(int count, int first, double *buffer) {
  std::copy_n(buffer, count * rows_.width, row(first));
}

int PairNequIP::pack_reverse_comm(int count, int first, double *buffer) {
  std::copy_n(row(first), count * rows_.width, buffer);
  return count * rows_.width;
}

void PairNequIP::unpack_reverse_comm(int count, int *atoms, double *buffer) {
  for (int i = 0; i < count; ++i) {
    double *to = row(atoms[i]);
    for (int k = 0; k < rows_.width; ++k) to[k] += *buffer++;
  }
}

void PairNequIP::add(Prediction &prediction) {
  const int nall = atom->nlocal + atom->nghost;
  // with newton on, LAMMPS itself sums the forces on ghosts
  if (on_ranks() && !force->newton_pair) {
    reverse({prediction.forces.data(), nall, 3});
    prediction.forces.resize(3 * static_cast<std::size_t>(atom->nlocal));
  }
  double *f = nall ? atom->f[0] : nullptr;
  for (std::size_t k = 0; k < prediction.forces.size(); ++k)
    f[k] += energy_unit_ * prediction.forces[k];
  if (eflag_global) eng_vdwl += energy_unit_ * prediction.energy;
  if (eflag_atom)
    for (int i = 0; i < atom->nlocal; ++i) eatom[i] += energy_unit_ * prediction.atom_energies[i];
  if (vflag_global)
    for (int k = 0; k < 6; ++k) virial[k] += energy_unit_ * prediction.virial[k];
}

}  // namespace phasewalk
