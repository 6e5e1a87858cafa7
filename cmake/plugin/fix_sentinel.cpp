// SPDX-License-Identifier: GPL-2.0-or-later
#include "fix_sentinel.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>
#include <sstream>
#include <stdexcept>

#include "atom.h"
#include "comm.h"
#include "compute.h"
#include "domain.h"
#include "error.h"
#include "force.h"
#include "gathering.h"
#include "modify.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "timer.h"
#include "universe.h"
#include "update.h"

using namespace LAMMPS_NS;

namespace phasewalk {

namespace {

/// xx yy zz yz xz xy
Box box_of(const Domain &domain) {
  Box box;
  std::copy_n(domain.h, box.size(), box.begin());
  return box;
}

/// A number that the largest of several can be found of; not-a-number would be lost.
double comparable(double value) {
  return std::isnan(value) ? std::numeric_limits<double>::infinity() : value;
}

/// The keywords that set limits.
std::string limit_names() {
  std::string names, last;
  for (const Limit &limit : kLimitTable) {
    if (limit.name != last) names += limit.name + std::string(", ");
    last = limit.name;
  }
  return names;
}

}  // namespace

FixSentinel::FixSentinel(LAMMPS *lmp, int narg, char **arg)
    : Fix(lmp, narg, arg), started_(platform::walltime()), entry_(lmp, *this) {
  nevery = 1;
  if (igroup != 0) error->all(FLERR, "{} always checks all atoms: use group all", kStyle);
  parse(narg, arg);
}

void FixSentinel::parse(int narg, char **arg) {
  int i = 3;
  const auto number = [&](const std::string &keyword) {
    if (++i >= narg) error->all(FLERR, "{}: keyword {}: missing value", kStyle, keyword);
    const double value = utils::numeric(FLERR, arg[i], false, lmp);
    if (!(value >= 0.0)) error->all(FLERR, "{}: {} {} must be >= 0", kStyle, keyword, arg[i]);
    return value;
  };
  const auto count = [&](const std::string &keyword, int least) {
    const double value = number(keyword);
    if (value < least || value > 1e9 || value != std::floor(value))
      error->all(FLERR, "{}: {} {} must be an integer >= {}", kStyle, keyword, arg[i], least);
    return static_cast<int>(value);
  };
  for (; i < narg; ++i) {
    const std::string keyword = arg[i];
    bool limited = false;
    for (const Limit &limit : kLimitTable) {
      if (keyword != limit.name) continue;
      limits_.*limit.number = number(keyword);
      limited = true;
    }
    if (keyword == "close") {
      std::vector<double> radii(1, 0.0);
      for (int type = 1; type <= atom->ntypes; ++type) radii.push_back(number(keyword));
      pairs_ = ClosestPair(std::move(radii));
    }
    if (limited) continue;
    if (keyword == "margin") {
      margin_ = count(keyword, 0);
    } else if (keyword == "ring") {
      ring_every_ = count(keyword, 1);
      ring_ = Ring(static_cast<std::size_t>(count(keyword, 1)));
    } else if (keyword == "strict") {
      strict_ = number(keyword);
    } else if (keyword == "good") {
      if (++i >= narg) error->all(FLERR, "{}: keyword good: missing file name", kStyle);
      good_file_ = arg[i];
    } else if (keyword == "bonds") {
      if (++i >= narg) error->all(FLERR, "{}: keyword bonds needs a file name", kStyle);
      const std::string file = arg[i];
      const int every = count(keyword, 1);
      read_bonds(file, every, count(keyword, 0));
    } else if (keyword == "together") {
      together_ = true;
    } else {
      error->all(FLERR,
                 "{}: unknown keyword {} (known: {}margin, ring, strict, good, bonds, together)",
                 kStyle, keyword, limit_names());
    }
  }
}

int FixSentinel::setmask() { return FixConst::END_OF_STEP; }

void FixSentinel::init() {
  if (limits_.close > 0.0 || bonds_every_) neighbor->add_request(this, NeighConst::REQ_DEFAULT);
}

void FixSentinel::init_list(int /*id*/, NeighList *list) { list_ = list; }

/// Store the first frame of the run, which may be the only good one.
void FixSentinel::setup(int /*vflag*/) {
  hear();
  const bool stuck = !tripped_.reason.empty() || !asked_.reason.empty();
  pairs_.forget();
  bonds_.forget();
  if (bonds_every_) look_at_bonds();
  const bool calm = tripped_.reason.empty() && worst(state(true), limits_).fraction <= strict_;
  remember(calm && bonds_.intact());
  if (stuck) end_of_step();
}

void FixSentinel::end_of_step() {
  if (stopped_) {
    timer->force_timeout();  // also after a stop in setup()
    return;
  }
  hear();
  const bool look = update->ntimestep % ring_every_ == 0;
  Finding finding = tripped_.reason.empty() ? worst(state(look), limits_) : tripped_;
  std::string message = message_;
  std::int64_t since = update->ntimestep;
  if (finding.fraction <= 1.0 && bonds_every_ && (look || since % bonds_every_ == 0)) {
    look_at_bonds();
    if (const BondChange &change = bonds_.change(); !change.finding.reason.empty()) {
      finding = change.finding;
      message = change.atoms;
      since = change.since;
    }
  }
  if (finding.fraction <= 1.0 && !asked_.reason.empty()) finding = asked_;
  const bool mine = finding.fraction > 1.0;
  if (mine) {
    stop(finding, message, since);
  } else if (look) {
    remember(finding.fraction <= strict_ && bonds_.intact());
  }
  if (together_ && stop_together(mine) && !mine)
    stop({"another walker", 0.0, 0.0, 0.0}, "", update->ntimestep);
}

/// What a style has told this fix on one rank is known to all afterwards.
void FixSentinel::hear() {
  if (comm->nprocs == 1) return;
  const auto teller = [this](const Finding &told) {
    return told.reason.empty() ? comm->nprocs : comm->me;
  };
  int first[2] = {teller(tripped_), teller(asked_)};
  MPI_Allreduce(MPI_IN_PLACE, first, 2, MPI_INT, MPI_MIN, world);
  if (first[0] < comm->nprocs) {
    const std::string reason = text_of(world, first[0], tripped_.reason);
    trip(reason, text_of(world, first[0], message_));
  }
  if (first[1] < comm->nprocs) ask(text_of(world, first[1], asked_.reason));
}

/// Quantities at the end of a step; `strictly`: exact enough to decide whether a frame is good.
State FixSentinel::state(bool strictly) {
  const auto n = static_cast<std::size_t>(atom->nlocal);
  const double *v = n ? atom->v[0] : nullptr, *f = n ? atom->f[0] : nullptr;
  Motion moving = motion(atom->nlocal, v, atom->type, atom->mass, atom->rmass);
  const Box box = box_of(*domain);
  State now;
  now.force = largest_component(f, 3 * n);
  now.walltime = platform::walltime() - started_;
  if (comm->nprocs > 1) {
    double largest[] = {comparable(now.force), comparable(moving.speed), now.walltime};
    MPI_Allreduce(MPI_IN_PLACE, largest, 3, MPI_DOUBLE, MPI_MAX, world);
    MPI_Allreduce(MPI_IN_PLACE, &moving.twice_kinetic, 1, MPI_DOUBLE, MPI_SUM, world);
    now.force = largest[0];
    moving.speed = largest[1];
    now.walltime = largest[2];
  }
  const double move = moving.speed * update->dt;
  now.temperature = moving.twice_kinetic * force->mvv2e / (freedom() * force->boltz);
  now.move = move;
  if (limits_.close > 0.0)
    now.close = closest_pair(move, limits_.close / (strictly ? strict_ : 1.0));
  now.volume = volume(box);
  now.tilt = largest_tilt(box);
  return now;
}

/// Number of degrees of freedom, as for the temperature in the log, which accounts for the centre
/// of mass.
double FixSentinel::freedom() const {
  const Compute *temperature = modify->get_compute_by_id("thermo_temp");
  if (temperature && temperature->dof >= 1.0) return temperature->dof;
  return std::max(1.0, 3.0 * static_cast<double>(atom->natoms) - 3.0);
}

double FixSentinel::closest_pair(double move, double needed) {
  return pairs_.step(move, needed, box_of(*domain), [this] {
    double closest = closest_fraction(atom->nlocal ? atom->x[0] : nullptr, atom->type,
                                      pairs_.radii(), neighbours());
    if (comm->nprocs > 1) MPI_Allreduce(MPI_IN_PLACE, &closest, 1, MPI_DOUBLE, MPI_MIN, world);
    return closest;
  });
}

Neighbours FixSentinel::neighbours() const {
  if (!list_) return {};
  return {list_->inum, list_->ilist, list_->numneigh, list_->firstneigh, NEIGHMASK};
}

void FixSentinel::read_bonds(const std::string &file, int every, int hold) {
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  if (!stream || !(text << stream.rdbuf()))
    error->all(FLERR, "{}: cannot read bonds {}", kStyle, file);
  try {
    bonds_ = BondGuard(BondTable(text.str(), atom->ntypes, atom->natoms), hold);
  } catch (const std::invalid_argument &wrong) {
    error->all(FLERR, "{}: bonds {}: {}", kStyle, file, wrong.what());
  }
  bonds_every_ = every;
  whole_.resize(3 * static_cast<std::size_t>(atom->natoms + 1));
  type_of_.resize(static_cast<std::size_t>(atom->natoms + 1));
}

/// IDs stay with their atoms, whatever order LAMMPS keeps those in, and images with their boxes.
void FixSentinel::look_at_bonds() {
  const auto known = static_cast<tagint>(type_of_.size());
  const bool several = comm->nprocs > 1;
  if (several) {
    std::fill(whole_.begin(), whole_.end(), 0.0);
    std::fill(type_of_.begin(), type_of_.end(), 0);
  }
  for (int i = 0; i < atom->nlocal; ++i) {
    const tagint id = atom->tag[i];
    if (id < 1 || id >= known)
      error->one(FLERR, "{}: bonds need atoms with the IDs 1 to {}, found {}", kStyle, known - 1,
                 id);
    domain->unmap(atom->x[i], atom->image[i], &whole_[3 * static_cast<std::size_t>(id)]);
    type_of_[static_cast<std::size_t>(id)] = atom->type[i];
  }
  if (several) {
    MPI_Allreduce(MPI_IN_PLACE, whole_.data(), static_cast<int>(whole_.size()), MPI_DOUBLE, MPI_SUM,
                  world);
    MPI_Allreduce(MPI_IN_PLACE, type_of_.data(), static_cast<int>(known), MPI_INT, MPI_SUM, world);
  }
  Places places;
  places.whole = whole_.data();
  places.type_of = type_of_.data();
  places.positions = atom->nlocal ? atom->x[0] : nullptr;
  places.types = atom->type;
  ids_.assign(atom->tag, atom->tag + atom->nlocal + atom->nghost);
  places.ids = ids_.data();
  places.neighbours = neighbours();
  places.box = box_of(*domain);
  const auto complete = [this](ClosePairs &pairs) {
    pairs = ClosePairs::of(gather_on_all(world, pairs.numbers()));
  };
  bonds_.look(update->ntimestep, places, several ? BondGuard::Complete(complete) : nullptr);
}

void FixSentinel::remember(bool good) {
  Snapshot &frame = ring_.next();
  frame.step = update->ntimestep;
  frame.good = good;
  const double *lo = domain->triclinic ? domain->boxlo_bound : domain->boxlo;
  const double *hi = domain->triclinic ? domain->boxhi_bound : domain->boxhi;
  frame.box = {lo[0], hi[0], domain->xy, lo[1], hi[1], domain->xz, lo[2], hi[2], domain->yz};
  frame.values.resize(Snapshot::kColumns * static_cast<std::size_t>(atom->nlocal));
  double *to = frame.values.data();
  for (int i = 0; i < atom->nlocal; ++i) {
    const double *x = atom->x[i], *v = atom->v[i];
    const imageint packed = atom->image[i];
    const double image[3] = {static_cast<double>((packed & IMGMASK) - IMGMAX),
                             static_cast<double>((packed >> IMGBITS & IMGMASK) - IMGMAX),
                             static_cast<double>((packed >> IMG2BITS) - IMGMAX)};
    *to++ = static_cast<double>(atom->tag[i]);
    *to++ = atom->type[i];
    to = std::copy_n(x, 3, to);
    to = std::copy_n(image, 3, to);
    to = std::copy_n(v, 3, to);
  }
  if (comm->nprocs > 1)
    frame.values = Gathering(world, atom->nlocal)
                       .gather(frame.values.data(), static_cast<int>(Snapshot::kColumns));
}

/// `since` is the step at which the breakdown began.
void FixSentinel::stop(const Finding &finding, const std::string &message, std::int64_t since) {
  stopped_ = true;
  const Snapshot *good = ring_.before_stop(since, margin_, update->beginstep);
  if (good && !good_file_.empty()) write(*good);
  utils::logmesg(lmp, "{}\n",
                 stop_line(update->ntimestep, finding, good ? good->step : -1, message));
  timer->force_timeout();
}

void FixSentinel::write(const Snapshot &snapshot) const {
  if (comm->me != 0) return;
  const std::string text = dump_text(snapshot, domain->triclinic != 0);
  std::FILE *file = std::fopen(good_file_.c_str(), "w");
  const bool written = file && std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if ((file && std::fclose(file) != 0) || !written)
    error->warning(FLERR, "{}: cannot write {}", kStyle, good_file_);
}

/// Whether any partition stops in this step. Partitions that share hills through MPI wait for each
/// other and must stop together.
bool FixSentinel::stop_together(bool mine) const {
  int any = mine ? 1 : 0;
  MPI_Allreduce(MPI_IN_PLACE, &any, 1, MPI_INT, MPI_MAX, universe->uworld);
  return any != 0;
}

/// Only for MD runs: a minimization does not call end_of_step() and would continue without forces.
bool FixSentinel::trip(const std::string &reason, const std::string &message) {
  if (update->whichflag != 1) return false;
  tripped_ = {reason, 0.0, 0.0, std::numeric_limits<double>::infinity()};
  message_ = message;
  return true;
}

bool FixSentinel::ask(const std::string &reason) {
  if (update->whichflag != 1) return false;
  asked_ = {reason, 0.0, 0.0, 1.0 + 1e-9};
  return true;
}

double FixSentinel::memory_usage() {
  return static_cast<double>(ring_.size() * Snapshot::kColumns *
                             static_cast<std::size_t>(atom->nlocal) * sizeof(double));
}

}  // namespace phasewalk
