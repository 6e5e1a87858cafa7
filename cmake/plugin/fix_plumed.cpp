// SPDX-License-Identifier: GPL-2.0-or-later
#include "fix_plumed.h"

#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "atom.h"
#include "breakdown.h"
#include "comm.h"
#include "communicator.h"
#include "compute.h"
#include "domain.h"
#include "error.h"
#include "failure.h"
#include "force.h"
#include "modify.h"
#include "pair.h"
#include "stopper.h"
#include "timer.h"
#include "universe.h"
#include "update.h"

// PLUMED's wrapper, compiled into this file; it loads the kernel at run time
#define __PLUMED_WRAPPER_EXTERN 0
#define __PLUMED_WRAPPER_IMPLEMENTATION 1
#define __PLUMED_WRAPPER_LINK_RUNTIME 1
#define __PLUMED_HAS_DLOPEN 1
#define __PLUMED_HAS_DLADDR 1
#include "wrapper/Plumed.h"

using namespace LAMMPS_NS;

namespace phasewalk {

namespace {

constexpr double kElectronvolt = 96.48530749925792;  // kJ/mol; PLUMED's value
constexpr double kKilocalorie = 4.184;               // kJ/mol

/// Whether a line gives a place in PLUMED's source code: "(tools/Grid.cpp:111) ...".
bool names_source(const std::string &line) {
  return line.rfind('(', 0) == 0 && line.find(".cpp:") < line.find(')');
}

/// The essential part of a message of PLUMED, as one line.
std::string sentence(const std::string &message) {
  std::string text;
  for (const auto &line : utils::split_lines(message)) {
    std::string rest = utils::trim(line);
    rest.erase(0, rest.find_first_not_of("+ "));
    if (rest.rfind("The above exception", 0) == 0) break;
    if (rest.empty() || names_source(rest) || rest == "PLUMED error" ||
        rest.rfind("message follows", 0) == 0 || rest.rfind("at ", 0) == 0 ||
        rest.rfind("assertion failed", 0) == 0)
      continue;
    text += (text.empty() ? "" : " ") + rest;
  }
  if (!text.empty()) return text;
  return message.empty() ? "an exception without a message" : message;
}

/// LAMMPS's order of the components of a symmetric tensor.
constexpr int kVoigt[6][2] = {{0, 0}, {1, 1}, {2, 2}, {0, 1}, {0, 2}, {1, 2}};

}  // namespace

/// Call PLUMED. If PLUMED fails during a run and there is a sentinel, only this walker is stopped,
/// because an error would end all partitions; PLUMED is not called again then.
template <typename... Args>
void FixPlumed::cmd(const char *key, Args... args) {
  if (broken_ || idle()) return;
  const auto failure =
      failure_of([&] { plumed_->cmd(key, args...); },
                 [](const std::exception &thrown) { return sentence(thrown.what()); });
  if (!failure) return;
  Stopper *stopper = running_ ? stopper_of(lmp) : nullptr;
  broken_ = stopper && stopper->trip("plumed", *failure);
  if (broken_) return;
  error->one(FLERR, "fix plumed, step {}: PLUMED failed ({}): {}", update->ntimestep, key,
             *failure);
}

FixPlumed::FixPlumed(LAMMPS *lmp, int narg, char **arg)
    : Fix(lmp, narg, arg), natoms_(static_cast<int>(atom->natoms)), dt_(update->dt) {
  scalar_flag = 1;
  global_freq = 1;
  extscalar = 1;
  energy_global_flag = virial_global_flag = 1;
  thermo_energy = thermo_virial = 1;
  dynamic_group_allow = 1;

  check_place();
  load_kernel();
  cmd("setRealPrecision", static_cast<int>(sizeof(double)));
  set_communicators();
  cmd("setMDEngine", "LAMMPS");
  set_units();
  set_files(narg, arg);
  cmd("setNatoms", natoms_);
  cmd("setTimestep", dt_);
  add_computes();
}

FixPlumed::~FixPlumed() {
  if (!modify) return;
  for (const auto &name : {potential_energy_name(), pressure_name()})
    if (modify->get_compute_by_id(name)) modify->delete_compute(name);
}

void FixPlumed::check_place() const {
  if (!domain->box_exist) error->all(FLERR, "fix plumed must come after the box is defined");
  if (!atom->tag_enable) error->all(FLERR, "fix plumed requires atom IDs: use atom_modify id yes");
  if (igroup != 0 && comm->me == 0)
    error->warning(FLERR, "fix plumed ignores its group: PLUMED always uses all atoms");
  for (const Fix *fix : modify->get_fix_list()) {
    if (!fix) continue;
    if (utils::strmatch(fix->style, "^plumed"))
      error->all(FLERR, "only one fix plumed is allowed; fix {} already exists", fix->id);
    // these use the virial in their own setup(), so that PLUMED must have added to it before
    for (const char *style :
         {"^nph", "^npt", "^rigid.*/np[ht]", "^msst", "^ipi", "^qbmsst", "^press/berendsen"})
      if (utils::strmatch(fix->style, style))
        error->all(FLERR,
                   "fix plumed must be defined before fix {} ({}), otherwise its first pressure "
                   "does not include the bias",
                   fix->id, fix->style);
  }
}

std::string FixPlumed::kernel() const {
  const char *path = std::getenv("PLUMED_KERNEL");
  return path && *path ? path : "libplumedKernel.so";  // on the loader's search path
}

void FixPlumed::load_kernel() {
  plumed_ = std::make_unique<PLMD::Plumed>(PLMD::Plumed::dlopen(kernel().c_str()));
  if (!plumed_->valid())
    error->all(FLERR,
               "fix plumed: cannot load the PLUMED kernel {}; set PLUMED_KERNEL to the path "
               "of libplumedKernel.so",
               kernel());
  int api = 0;
  cmd("getApiVersion", &api);
  if (api < 5) error->all(FLERR, "fix plumed requires PLUMED 2.4 or later (found API {})", api);
}

/// Whether PLUMED was built with MPI. PLUMED cannot be queried, so that setting a communicator is
/// tried, unless PLUMED uses another MPI library, for which communicators of LAMMPS are invalid.
bool FixPlumed::kernel_has_mpi() {
  void *library = dlopen(kernel().c_str(), RTLD_LAZY | RTLD_NOLOAD);
  void *theirs = library ? dlsym(library, "MPI_Comm_rank") : nullptr;
  if (library) dlclose(library);
  if (!theirs) return false;
  if (theirs != dlsym(RTLD_DEFAULT, "MPI_Comm_rank")) {
    if (comm->me == 0)
      error->warning(FLERR,
                     "fix plumed: PLUMED was built with another MPI library than LAMMPS and runs "
                     "without MPI");
    return false;
  }
  return !failure_of([&] { PLMD::Plumed::dlopen(kernel().c_str()).cmd("setMPIComm", &world); });
}

/// Whether PLUMED runs on another rank, for this one, too.
bool FixPlumed::idle() const { return on_first_ && comm->me != 0; }

/// What PLUMED says on the first rank, on all of them.
void FixPlumed::tell(void *data, int count, MPI_Datatype type) const {
  if (on_first_) MPI_Bcast(data, count, type, 0, world);
}

void FixPlumed::set_communicators() {
  if (!kernel_has_mpi()) {
    on_first_ = comm->nprocs > 1;
    return;
  }
  if (universe->existflag) {
    Communicator walkers(universe->uworld, comm->me, 0);  // PLUMED duplicates it
    cmd("GREX setMPIIntracomm", &world);
    if (comm->me == 0) cmd("GREX setMPIIntercomm", &walkers.get());
    cmd("GREX init");
  }
  cmd("setMPIComm", &world);
}

void FixPlumed::set_units() {
  const std::string units = update->unit_style;
  if (units == "lj") {
    cmd("setNaturalUnits");
    return;
  }
  if (units != "metal" && units != "real")
    error->all(FLERR, "fix plumed requires units metal, real or lj, found units {}", units);
  const bool metal = units == "metal";
  cmd("setMDEnergyUnits", metal ? kElectronvolt : kKilocalorie);
  cmd("setMDLengthUnits", 0.1);                // Angstrom in nm
  cmd("setMDTimeUnits", metal ? 1.0 : 0.001);  // ps or fs in ps
}

void FixPlumed::set_files(int narg, char **arg) {
  for (int i = 3; i < narg; i += 2) {
    const std::string keyword = arg[i];
    if (i + 1 == narg) error->all(FLERR, "fix plumed: keyword {} has no value", keyword);
    if (keyword == "plumedfile") {
      if (!platform::file_is_readable(arg[i + 1]))
        error->all(FLERR, "fix plumed: plumedfile {} does not exist or cannot be read", arg[i + 1]);
      cmd("setPlumedDat", arg[i + 1]);
    } else if (keyword == "outfile") {
      cmd("setLogFile", arg[i + 1]);
    } else {
      error->all(FLERR, "fix plumed: unknown keyword {} (known: plumedfile, outfile)", keyword);
    }
  }
}

/// The temperature of the thermostat fixes; 0 if there is none, or if they differ.
///
/// There is no keyword for it, because LAMMPS's own fix plumed, which runs the same scripts, has
/// none.
double FixPlumed::thermostat() const {
  double found = 0.0;
  for (Fix *fix : modify->get_fix_list()) {
    int dim = -1;
    const void *target = fix ? fix->extract("t_target", dim) : nullptr;
    if (!target || dim != 0) continue;
    const double temperature = *static_cast<const double *>(target);
    if (!std::isfinite(temperature) || temperature <= 0.0) continue;
    if (found > 0.0 && temperature != found) {
      if (comm->me == 0)
        error->warning(FLERR,
                       "fix plumed: thermostats at {} and {} K, so that PLUMED gets no "
                       "temperature: set TEMP in its input",
                       found, temperature);
      return 0.0;
    }
    found = temperature;
  }
  return found;
}

/// PLUMED reads its input at the first run, when the thermostat is known; a thermostat with
/// barostat must be defined after this fix.
void FixPlumed::start() {
  if (started_) return;
  const double temperature = thermostat();
  if (temperature > 0.0) cmd("setKbT", force->boltz * temperature);
  cmd("init");
  started_ = true;
}

/// For PLUMED's ENERGY: contributions of the force field, without fixes.
void FixPlumed::add_computes() {
  const std::string force_field = " pair bond angle dihedral improper kspace";
  modify->add_compute(potential_energy_name() + " all pe" + force_field);
  modify->add_compute(pressure_name() + " all pressure NULL" + force_field);
}

std::string FixPlumed::potential_energy_name() const { return std::string(id) + "_plumed_pe"; }

std::string FixPlumed::pressure_name() const { return std::string(id) + "_plumed_press"; }

/// The computes may have been deleted or redefined.
void FixPlumed::find_computes() {
  potential_energy_ = modify->get_compute_by_id(potential_energy_name());
  pressure_ = modify->get_compute_by_id(pressure_name());
  for (const auto &name : {potential_energy_name(), pressure_name()})
    if (!modify->get_compute_by_id(name))
      error->all(FLERR, "fix plumed: its compute {} was deleted: define the fix again", name);
}

int FixPlumed::setmask() { return FixConst::POST_FORCE | FixConst::MIN_POST_FORCE; }

void FixPlumed::check_timestep() const {
  if (update->dt != dt_)
    error->all(FLERR,
               "fix plumed was defined with timestep {}, which PLUMED cannot change to {}: set the "
               "timestep before the fix",
               dt_, update->dt);
}

void FixPlumed::init() {
  check_timestep();
  if (utils::strmatch(update->integrate_style, "^respa"))
    error->all(FLERR, "fix plumed does not support run_style respa: use run_style verlet");
  if (!atom->tag_consecutive())
    error->all(FLERR, "fix plumed requires atom IDs from 1 to {}: use reset_atoms id", natoms_);
  find_computes();
  start();
  // PLUMED has already processed this configuration, also if reset_timestep changed its step
  repeated_ = updated_ >= 0 ? update->ntimestep : -1;
}

void FixPlumed::reset_dt() { check_timestep(); }

void FixPlumed::setup(int vflag) { post_force(vflag); }

void FixPlumed::min_setup(int vflag) { post_force(vflag); }

void FixPlumed::min_post_force(int vflag) { post_force(vflag); }

void FixPlumed::post_force(int /*vflag*/) {
  running_ = true;
  int stop = 0;
  cmd("setStepLong", static_cast<long>(update->ntimestep));
  cmd("setStopFlag", &stop);
  share_atoms();
  share_box();
  cmd("prepareCalc");
  add_energy();
  calculate(update->ntimestep != repeated_);
  running_ = false;
  tell(&stop, 1, MPI_INT);
  if (stop) end();
  potential_energy_->addstep(update->ntimestep + 1);
  pressure_->addstep(update->ntimestep + 1);
}

void FixPlumed::share_atoms() {
  const int n = atom->nlocal;
  bigint total = n;
  if (comm->nprocs > 1) {
    const bigint mine = n;
    MPI_Allreduce(&mine, &total, 1, MPI_LMP_BIGINT, MPI_SUM, world);
  }
  if (total != natoms_)
    error->all(FLERR,
               "fix plumed was defined with {} atoms, now there are {}: PLUMED does not support "
               "a change of the number of atoms",
               natoms_, total);

  int changed = n != static_cast<int>(own_.indices.size());
  own_.indices.resize(n);
  own_.masses.resize(n);
  own_.charges.resize(n);
  for (int i = 0; i < n; ++i) {
    const int index = static_cast<int>(atom->tag[i]) - 1;
    changed |= index != own_.indices[i];
    own_.indices[i] = index;
    own_.masses[i] = atom->rmass ? atom->rmass[i] : atom->mass[atom->type[i]];
    own_.charges[i] = atom->q ? atom->q[i] : 0.0;
  }
  if (comm->nprocs > 1) MPI_Allreduce(MPI_IN_PLACE, &changed, 1, MPI_INT, MPI_MAX, world);
  double *x = n ? atom->x[0] : nullptr, *f = n ? atom->f[0] : nullptr;
  if (!on_first_) {
    give_atoms(own_, changed, x, f);
    return;
  }
  if (changed) {
    ranks_.emplace(world, n);
    all_.indices = ranks_->gather(own_.indices.data(), 1);
  }
  all_.masses = ranks_->gather(own_.masses.data(), 1);
  all_.charges = ranks_->gather(own_.charges.data(), 1);
  all_positions_ = ranks_->gather(x, 3);
  all_forces_ = ranks_->gather(f, 3);
  give_atoms(all_, changed, all_positions_.data(), all_forces_.data());
}

void FixPlumed::give_atoms(const Given &atoms, bool changed, const double *x, double *f) {
  const auto rows = atoms.indices.size();
  if (changed) {
    cmd("setAtomsNlocal", static_cast<int>(rows));
    cmd("setAtomsGatindex", atoms.indices.data(), rows);
  }
  cmd("setMasses", atoms.masses.data(), rows);
  cmd("setCharges", atoms.charges.data(), rows);
  cmd("setPositions", x, 3 * rows);
  cmd("setForces", f, 3 * rows);
}

void FixPlumed::share_box() {
  const double *h = domain->h;  // xx yy zz yz xz xy
  const double rows[3][3] = {{h[0], 0.0, 0.0}, {h[5], h[1], 0.0}, {h[4], h[3], h[2]}};
  const bool periodic = domain->xperiodic || domain->yperiodic || domain->zperiodic;
  if (periodic) std::memcpy(box_, rows, sizeof(box_));  // all zero means no periodicity
  std::memset(virial_, 0, sizeof(virial_));
  cmd("setBox", &box_[0][0], 9);
  cmd("setVirial", &virial_[0][0], 9);
}

/// If the input uses ENERGY, PLUMED scales all forces and therefore needs the complete virial.
void FixPlumed::add_energy() {
  std::fill(unbiased_virial_.begin(), unbiased_virial_.end(), 0.0);
  int needed = 0;
  cmd("isEnergyNeeded", &needed);
  tell(&needed, 1, MPI_INT);
  if (!needed) return;
  if (comm->nprocs > 1 && !on_first_)
    error->all(FLERR,
               "fix plumed: PLUMED's ENERGY requires one MPI rank per partition, or a "
               "PLUMED without MPI");
  if (force->pair && force->pair->tail_flag)
    error->warning(FLERR,
                   "fix plumed: pair_modify tail corrections are part of PLUMED's ENERGY, "
                   "but cannot be biased");
  energy_ = potential_energy_->compute_scalar();
  cmd("setEnergy", &energy_);
  pressure_->compute_vector();
  const double volume = domain->xprd * domain->yprd * domain->zprd;
  for (int k = 0; k < 6; ++k) {
    unbiased_virial_[k] = pressure_->vector[k] * volume / force->nktv2p;
    const auto [a, b] = kVoigt[k];
    virial_[a][b] = virial_[b][a] = -unbiased_virial_[k];
  }
}

void FixPlumed::calculate(bool update_too) {
  cmd(update_too ? "performCalc" : "performCalcNoUpdate");
  if (update_too) updated_ = update->ntimestep;
  for (int k = 0; k < 6; ++k)
    virial[k] = -virial_[kVoigt[k][0]][kVoigt[k][1]] - unbiased_virial_[k];
  cmd("getBias", &bias_);
  tell(&bias_, 1, MPI_DOUBLE);
  if (on_first_) ranks_->scatter(all_forces_, atom->nlocal ? atom->f[0] : nullptr, 3);
}

/// Stop the run as requested by the PLUMED input (COMMITTOR); this is not an error.
void FixPlumed::end() {
  if (Stopper *stopper = stopper_of(lmp); stopper && stopper->ask("plumed stop")) return;
  if (!ended_)
    utils::logmesg(lmp, "{}\n",
                   stop_line(update->ntimestep, {"plumed stop", 0.0, 0.0, 0.0}, -1, ""));
  ended_ = true;
  timer->force_timeout();
}

double FixPlumed::compute_scalar() { return bias_; }

double FixPlumed::memory_usage() {
  return static_cast<double>(own_.indices.size() * (sizeof(int) + 2 * sizeof(double)));
}

}  // namespace phasewalk
