// SPDX-License-Identifier: GPL-2.0-or-later
#include "fix_sentinel.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "atom.h"
#include "comm.h"
#include "compute.h"
#include "domain.h"
#include "error.h"
#include "force.h"
#include "modify.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "timer.h"
#include "universe.h"
#include "update.h"

using namespace LAMMPS_NS;

namespace phasewalk {

namespace {

constexpr const char *kName = "phasewalk/sentinel";
constexpr int kColumns = 11;
constexpr double kStrain = 0.003;  // of the box, that brings no pair noticeably closer

/// How much of a limit is used: all of it where the quotient is none.
double used(double value, double limit) {
  const double fraction = value / limit;
  return std::isfinite(fraction) ? fraction : std::numeric_limits<double>::infinity();
}

}  // namespace

FixSentinel::FixSentinel(LAMMPS *lmp, int narg, char **arg)
    : Fix(lmp, narg, arg), started_(platform::walltime()) {
  nevery = 1;
  if (igroup != 0) error->all(FLERR, "{} watches all atoms: use group all", kStyle);
  if (comm->nprocs > 1)
    error->all(FLERR, "{} runs on one MPI rank per partition, found {}", kStyle, comm->nprocs);
  ring_.resize(20);
  parse(narg, arg);
}

void FixSentinel::parse(int narg, char **arg) {
  int i = 3;
  const auto number = [&](const std::string &keyword) {
    if (++i >= narg) error->all(FLERR, "{}: keyword {} needs more values", kStyle, keyword);
    const double value = utils::numeric(FLERR, arg[i], false, lmp);
    if (!(value >= 0.0)) error->all(FLERR, "{}: {} {} is negative", kStyle, keyword, arg[i]);
    return value;
  };
  const auto count = [&](const std::string &keyword, int least) {
    const double value = number(keyword);
    if (value < least || value > 1e9 || value != std::floor(value))
      error->all(FLERR, "{}: {} {} must be a whole number from {}", kStyle, keyword, arg[i], least);
    return static_cast<int>(value);
  };
  for (; i < narg; ++i) {
    const std::string keyword = arg[i];
    if (keyword == "force") {
      limits_.force = number(keyword);
    } else if (keyword == "temperature") {
      limits_.temperature = number(keyword);
    } else if (keyword == "move") {
      limits_.move = number(keyword);
    } else if (keyword == "close") {
      limits_.close = number(keyword);
      radii_.assign(1, 0.0);
      for (int type = 1; type <= atom->ntypes; ++type) radii_.push_back(number(keyword));
      smallest_sum_ = 2.0 * *std::min_element(radii_.begin() + 1, radii_.end());
    } else if (keyword == "volume") {
      limits_.volume_low = number(keyword);
      limits_.volume_high = number(keyword);
    } else if (keyword == "tilt") {
      limits_.tilt = number(keyword);
    } else if (keyword == "walltime") {
      limits_.walltime = number(keyword);
    } else if (keyword == "margin") {
      margin_ = count(keyword, 0);
    } else if (keyword == "ring") {
      ring_every_ = count(keyword, 1);
      ring_.assign(static_cast<std::size_t>(count(keyword, 1)), Frame());
    } else if (keyword == "strict") {
      strict_ = number(keyword);
    } else if (keyword == "good") {
      if (++i >= narg) error->all(FLERR, "{}: keyword good needs a file name", kStyle);
      good_file_ = arg[i];
    } else if (keyword == "together") {
      together_ = true;
    } else {
      error->all(FLERR,
                 "{}: unknown keyword {} (known: force, temperature, move, close, volume, tilt, "
                 "walltime, margin, ring, strict, good, together)",
                 kStyle, keyword);
    }
  }
}

int FixSentinel::setmask() { return FixConst::END_OF_STEP; }

void FixSentinel::init() {
  if (limits_.close > 0.0) neighbor->add_request(this, NeighConst::REQ_DEFAULT);
}

void FixSentinel::init_list(int /*id*/, NeighList *list) { list_ = list; }

/// The frame that the run begins with may be the only good one.
void FixSentinel::setup(int /*vflag*/) {
  const bool stuck = !tripped_.reason.empty() || !asked_.reason.empty();
  box_.fill(0.0);  // all pairs are looked at
  remember(tripped_.reason.empty() && worst(true).fraction <= strict_);
  if (stuck) end_of_step();
}

void FixSentinel::end_of_step() {
  if (stopped_) {
    timer->force_timeout();  // also where setup() found no way on
    return;
  }
  const bool look = update->ntimestep % ring_every_ == 0;
  Finding finding = tripped_.reason.empty() ? worst(look) : tripped_;
  if (finding.fraction <= 1.0 && !asked_.reason.empty()) finding = asked_;
  const bool mine = finding.fraction > 1.0;
  if (mine) {
    stop(finding, message_);
  } else if (look) {
    remember(finding.fraction <= strict_);
  }
  if (together_ && stop_together(mine) && !mine) stop({"another walker", 0.0, 0.0, 0.0}, "");
}

/// What has come closest to its limit; `strictly` where it must be told from that of a good frame.
FixSentinel::Finding FixSentinel::worst(bool strictly) {
  Finding found;
  const auto consider = [&](const char *reason, double value, double limit, double fraction) {
    if (limit > 0.0 && fraction > found.fraction) found = {reason, value, limit, fraction};
  };
  const double force = largest_force(), tilt = largest_tilt();
  const auto [hot, speed] = motion();
  const double volume = domain->xprd * domain->yprd * domain->zprd;
  const double needed = limits_.close / (strictly ? strict_ : 1.0);
  const double close = limits_.close > 0.0 ? closest_pair(speed, needed) : 1.0;
  if (!std::isfinite(force + hot + speed + tilt + volume + close)) {
    const double none = std::numeric_limits<double>::quiet_NaN();
    return {"nan", none, none, std::numeric_limits<double>::infinity()};
  }
  consider("force", force, limits_.force, used(force, limits_.force));
  consider("temperature", hot, limits_.temperature, used(hot, limits_.temperature));
  consider("move", speed * update->dt, limits_.move, used(speed * update->dt, limits_.move));
  consider("close", close, limits_.close, used(limits_.close, close));
  consider("volume", volume, limits_.volume_low, used(limits_.volume_low, volume));
  consider("volume", volume, limits_.volume_high, used(volume, limits_.volume_high));
  consider("tilt", tilt, limits_.tilt, used(tilt, limits_.tilt));
  // time runs out without harm to any frame: it is no measure of how good one is
  const double spent = platform::walltime() - started_;
  if (limits_.walltime > 0.0 && spent > limits_.walltime && found.fraction <= 1.0)
    found = {"walltime", spent, limits_.walltime, 1.0 + 1e-9};
  return found;
}

double FixSentinel::largest_force() const {
  // several at a time: one would wait for the other
  constexpr int kLanes = 6;
  double largest[kLanes] = {}, sum[kLanes] = {};
  const int components = 3 * atom->nlocal;
  const double *f = components ? atom->f[0] : nullptr;
  const auto take = [&](int lane, double component) {
    largest[lane] = std::max(largest[lane], std::abs(component));
    sum[lane] += component;  // keeps what is not a number, which max() drops
  };
  int k = 0;
  for (; k + kLanes <= components; k += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) take(lane, f[k + lane]);
  for (; k < components; ++k) take(0, f[k]);
  for (int lane = 1; lane < kLanes; ++lane) {
    largest[0] = std::max(largest[0], largest[lane]);
    sum[0] += sum[lane];
  }
  return std::isfinite(sum[0]) ? largest[0] : std::numeric_limits<double>::quiet_NaN();
}

std::array<double, 2> FixSentinel::motion() const {
  double twice = 0.0, fastest = 0.0;
  for (int i = 0; i < atom->nlocal; ++i) {
    const double *v = atom->v[i];
    const double mass = atom->rmass ? atom->rmass[i] : atom->mass[atom->type[i]];
    const double square = v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
    twice += mass * square;
    fastest = std::max(fastest, square);
  }
  return {twice * force->mvv2e / (freedom() * force->boltz), std::sqrt(fastest)};
}

/// How many velocities the temperature counts: as many as the log's, which knows whether the centre
/// of mass moves.
double FixSentinel::freedom() const {
  const Compute *temperature = modify->get_compute_by_id("thermo_temp");
  if (temperature && temperature->dof >= 1.0) return temperature->dof;
  return std::max(1.0, 3.0 * static_cast<double>(atom->natoms) - 3.0);
}

/// At most the fraction of their radii at which the closest pair stands, and exactly that where it
/// is below what is needed. All pairs are looked at only where atoms can have come so close.
double FixSentinel::closest_pair(double speed, double needed) {
  // half a step more, since the speed between two steps may be that of neither
  moved_ += 1.5 * speed * update->dt;
  const double bound = closest_ - 2.0 * moved_ / smallest_sum_;
  double strained = 0.0;
  for (int i = 0; i < 6; ++i) strained = std::max(strained, std::abs(domain->h[i] - box_[i]));
  if (bound >= needed && strained < kStrain * domain->zprd) return bound;
  std::copy_n(domain->h, 6, box_.begin());
  moved_ = 0.0;
  return closest_ = scan_pairs();
}

double FixSentinel::scan_pairs() const {
  double closest = 1e60;
  if (!list_) return closest;
  for (int ii = 0; ii < list_->inum; ++ii) {
    const int i = list_->ilist[ii];
    const double *xi = atom->x[i];
    const double radius = radii_[static_cast<std::size_t>(atom->type[i])];
    for (int jj = 0; jj < list_->numneigh[i]; ++jj) {
      const int j = list_->firstneigh[i][jj] & NEIGHMASK;
      const double *xj = atom->x[j];
      const double d[3] = {xj[0] - xi[0], xj[1] - xi[1], xj[2] - xi[2]};
      const double sum = radius + radii_[static_cast<std::size_t>(atom->type[j])];
      closest = std::min(closest, (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]) / (sum * sum));
    }
  }
  return std::sqrt(closest);
}

double FixSentinel::largest_tilt() const {
  return std::max({std::abs(domain->xy) / domain->xprd, std::abs(domain->xz) / domain->xprd,
                   std::abs(domain->yz) / domain->yprd});
}

void FixSentinel::remember(bool good) {
  Frame &frame = ring_[next_];
  next_ = (next_ + 1) % ring_.size();
  frame.step = update->ntimestep;
  frame.good = good;
  const double *lo = domain->triclinic ? domain->boxlo_bound : domain->boxlo;
  const double *hi = domain->triclinic ? domain->boxhi_bound : domain->boxhi;
  frame.box = {lo[0], hi[0], domain->xy, lo[1], hi[1], domain->xz, lo[2], hi[2], domain->yz};
  frame.values.resize(static_cast<std::size_t>(kColumns) * atom->nlocal);
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
}

const FixSentinel::Frame *FixSentinel::last_good(bigint before) const {
  const Frame *best = nullptr;
  for (const Frame &frame : ring_)
    if (frame.good && frame.step >= 0 && frame.step <= before && (!best || frame.step > best->step))
      best = &frame;
  return best;
}

void FixSentinel::stop(const Finding &finding, const std::string &message) {
  stopped_ = true;
  const Frame *good = last_good(update->ntimestep - margin_);
  if (!good || good->step == update->beginstep) {
    // better than none, and than the frame that the run began with
    const Frame *newer = last_good(update->ntimestep);
    if (newer) good = newer;
  }
  if (good && !good_file_.empty()) write(*good);
  utils::logmesg(lmp, "{}: stop step={} reason={} value={:.6g} limit={:.6g} good={}{}\n", kName,
                 update->ntimestep, finding.reason, finding.value, finding.limit,
                 good ? good->step : -1, message.empty() ? "" : " says=" + message);
  timer->force_timeout();
}

void FixSentinel::write(const Frame &frame) const {
  std::FILE *file = std::fopen(good_file_.c_str(), "w");
  if (!file) {
    error->warning(FLERR, "{}: cannot write {}", kStyle, good_file_);
    return;
  }
  const std::size_t atoms = frame.values.size() / kColumns;
  const auto &box = frame.box;
  utils::print(file, "ITEM: TIMESTEP\n{}\nITEM: NUMBER OF ATOMS\n{}\n", frame.step, atoms);
  if (domain->triclinic) {
    utils::print(file, "ITEM: BOX BOUNDS xy xz yz pp pp pp\n");
    for (int k = 0; k < 9; k += 3)
      utils::print(file, "{:.17g} {:.17g} {:.17g}\n", box[k], box[k + 1], box[k + 2]);
  } else {
    utils::print(file, "ITEM: BOX BOUNDS pp pp pp\n");
    for (int k = 0; k < 9; k += 3) utils::print(file, "{:.17g} {:.17g}\n", box[k], box[k + 1]);
  }
  utils::print(file, "ITEM: ATOMS id type x y z ix iy iz vx vy vz\n");
  std::vector<std::size_t> order(atoms);
  for (std::size_t i = 0; i < atoms; ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return frame.values[a * kColumns] < frame.values[b * kColumns];
  });
  for (const std::size_t i : order) {
    const double *v = &frame.values[i * kColumns];
    utils::print(file,
                 "{:.0f} {:.0f} {:.17g} {:.17g} {:.17g} {:.0f} {:.0f} {:.0f} {:.17g} {:.17g} "
                 "{:.17g}\n",
                 v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], v[10]);
  }
  std::fclose(file);
}

/// Whether any partition stops in this step. Those that share hills through MPI wait for each
/// other, so that one may not stop without the others.
bool FixSentinel::stop_together(bool mine) const {
  int any = mine ? 1 : 0;
  MPI_Allreduce(MPI_IN_PLACE, &any, 1, MPI_INT, MPI_MAX, universe->uworld);
  return any != 0;
}

bool FixSentinel::trip(LAMMPS *lmp, const std::string &reason, const std::string &message) {
  const auto found = lmp->modify->get_fix_by_style(kName);
  if (found.empty()) return false;
  auto *sentinel = static_cast<FixSentinel *>(found.front());
  sentinel->tripped_ = {reason, 0.0, 0.0, std::numeric_limits<double>::infinity()};
  sentinel->message_ = message;
  return true;
}

bool FixSentinel::ask(LAMMPS *lmp, const std::string &reason) {
  const auto found = lmp->modify->get_fix_by_style(kName);
  if (found.empty()) return false;
  static_cast<FixSentinel *>(found.front())->asked_ = {reason, 0.0, 0.0, 1.0 + 1e-9};
  return true;
}

double FixSentinel::memory_usage() {
  return static_cast<double>(ring_.size() * kColumns * atom->nlocal * sizeof(double));
}

}  // namespace phasewalk
