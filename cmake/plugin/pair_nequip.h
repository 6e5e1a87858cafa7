// SPDX-License-Identifier: GPL-2.0-or-later
#ifndef PHASEWALK_PAIR_NEQUIP_H
#define PHASEWALK_PAIR_NEQUIP_H

#include <memory>
#include <vector>

#include "evaluator.h"
#include "gpus.h"
#include "pair.h"

namespace phasewalk {

/// pair_style nequip [timing] [device cpu|cuda]
/// pair_coeff * * MODEL TYPE1 TYPE2 ...
///
/// Without `device` the model runs on a GPU if torch finds one. `timing` prints the time per step
/// spent in the model at the end of a run.
///
/// Interface code only: EdgeBuilder converts LAMMPS's neighbour lists, Evaluator runs the model.
class PairNequIP : public LAMMPS_NS::Pair {
 public:
  static constexpr const char *kStyle = "pair_style nequip";

  explicit PairNequIP(LAMMPS_NS::LAMMPS *lmp);
  ~PairNequIP() override;

  void settings(int narg, char **arg) override;
  void coeff(int narg, char **arg) override;
  void init_style() override;
  double init_one(int i, int j) override;
  void compute(int eflag, int vflag) override;
  void finish() override;

 private:
  void allocate();
  Gpu pick_gpu() const;
  void load(const std::string &path);
  void map_types(int narg, char **names);
  bool uses_all_neighbours() const;
  void find_owners();
  Frame make_frame();
  void add(const Prediction &prediction);

  std::unique_ptr<Evaluator> evaluator_;
  std::unique_ptr<EdgeBuilder> edges_;
  std::vector<std::int64_t> model_types_;  // by LAMMPS type, from 1
  std::vector<std::int64_t> types_;        // by owned atom
  std::vector<int> owners_;
  std::vector<Frame> frames_;
  std::vector<Prediction> predictions_;
  double energy_unit_ = 1.0;  // 1 eV in LAMMPS's energy unit
  bool timing_ = false;
  Device device_ = Device::automatic;
  std::int64_t calls_ = 0;                      // number of calls of compute() in this run
  double model_seconds_ = 0.0, seconds_ = 0.0;  // time in the model, and in compute() in total
};

}  // namespace phasewalk

#endif
