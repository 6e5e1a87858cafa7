// SPDX-License-Identifier: GPL-2.0-or-later
// Wrappers of all styles that convert exceptions in callbacks to LAMMPS errors.
#ifndef PHASEWALK_GUARD_H
#define PHASEWALK_GUARD_H

#include <exception>
#include <string>

#include "error.h"
#include "exceptions.h"
#include "failure.h"
#include "lammps.h"

namespace LAMMPS_NS {
class NeighList;
}

namespace phasewalk {

/// Run `action`; an exception becomes an error of LAMMPS that begins with `style`.
template <typename Action>
void guarded(LAMMPS_NS::LAMMPS *lmp, const char *style, Action &&action) {
  std::exception_ptr own;
  const auto failure = failure_of([&] {
    try {
      action();
    } catch (const LAMMPS_NS::LAMMPSException &) {
      own = std::current_exception();  // already an error of LAMMPS
    }
  });
  if (own) std::rethrow_exception(own);
  if (failure) lmp->error->one(FLERR, "{}: {}", style, *failure);
}

template <typename Style>
class GuardedCommand final : public Style {
 public:
  using Style::Style;

  void command(int narg, char **arg) override {
    guarded(this->lmp, Style::kStyle, [&] { Style::command(narg, arg); });
  }
};

template <typename Style>
class GuardedPair final : public Style {
 public:
  using Style::Style;

  void settings(int narg, char **arg) override {
    guarded(this->lmp, Style::kStyle, [&] { Style::settings(narg, arg); });
  }
  void coeff(int narg, char **arg) override {
    guarded(this->lmp, Style::kStyle, [&] { Style::coeff(narg, arg); });
  }
  void init_style() override {
    guarded(this->lmp, Style::kStyle, [&] { Style::init_style(); });
  }
  double init_one(int i, int j) override {
    double cutoff = 0.0;
    guarded(this->lmp, Style::kStyle, [&] { cutoff = Style::init_one(i, j); });
    return cutoff;
  }
  void compute(int eflag, int vflag) override {
    guarded(this->lmp, Style::kStyle, [&] { Style::compute(eflag, vflag); });
  }
  void finish() override {
    guarded(this->lmp, Style::kStyle, [&] { Style::finish(); });
  }
};

template <typename Style>
class GuardedFix final : public Style {
 public:
  using Style::Style;

  void init() override {
    guarded(this->lmp, Style::kStyle, [&] { Style::init(); });
  }
  void init_list(int id, LAMMPS_NS::NeighList *list) override {
    guarded(this->lmp, Style::kStyle, [&] { Style::init_list(id, list); });
  }
  void setup(int vflag) override {
    guarded(this->lmp, Style::kStyle, [&] { Style::setup(vflag); });
  }
  void min_setup(int vflag) override {
    guarded(this->lmp, Style::kStyle, [&] { Style::min_setup(vflag); });
  }
  void post_force(int vflag) override {
    guarded(this->lmp, Style::kStyle, [&] { Style::post_force(vflag); });
  }
  void min_post_force(int vflag) override {
    guarded(this->lmp, Style::kStyle, [&] { Style::min_post_force(vflag); });
  }
  void end_of_step() override {
    guarded(this->lmp, Style::kStyle, [&] { Style::end_of_step(); });
  }
  void reset_dt() override {
    guarded(this->lmp, Style::kStyle, [&] { Style::reset_dt(); });
  }
  double compute_scalar() override {
    double value = 0.0;
    guarded(this->lmp, Style::kStyle, [&] { value = Style::compute_scalar(); });
    return value;
  }
};

/// Create a style for LAMMPS; exceptions of its constructor are converted, too.
template <typename Style, typename... Args>
void *make_guarded(void *instance, Args... args) {
  auto *lmp = static_cast<LAMMPS_NS::LAMMPS *>(instance);
  Style *made = nullptr;
  guarded(lmp, Style::kStyle, [&] { made = new Style(lmp, args...); });
  return made;
}

}  // namespace phasewalk

#endif
