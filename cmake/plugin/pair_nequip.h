// SPDX-License-Identifier: GPL-2.0-or-later
#ifndef PHASEWALK_PAIR_NEQUIP_H
#define PHASEWALK_PAIR_NEQUIP_H

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "evaluator.h"
#include "exchange.h"
#include "gpus.h"
#include "pair.h"

namespace phasewalk {

/// pair_style nequip [timing] [device cpu|cuda]
/// pair_coeff * * MODEL TYPE1 TYPE2 ...
///
/// Without `device` the model runs on a GPU if torch finds one. `timing` prints the time per step
/// spent in the model at the end of a run, and on several ranks in exchanges between them.
///
/// On several MPI ranks the model's file for ranks is used, which must be beside the named one:
/// model.exchange.nequip.pth beside model.nequip.pth. It may also be named itself, on any number of
/// ranks.
///
/// Interface code only: EdgeBuilder converts LAMMPS's neighbour lists, Evaluator runs the model.
class PairNequIP : public LAMMPS_NS::Pair, private Ranks {
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

  int pack_forward_comm(int count, int *atoms, double *buffer, int, int *) override;
  void unpack_forward_comm(int count, int first, double *buffer) override;
  int pack_reverse_comm(int count, int first, double *buffer) override;
  void unpack_reverse_comm(int count, int *atoms, double *buffer) override;

 private:
  void forward(const Rows &rows) override;
  void reverse(const Rows &rows) override;
  double *row(int atom) const;
  bool on_ranks() const { return evaluator_->info().exchanged > 0; }
  std::string file_for_ranks(const std::string &path) const;
  void check_gpus(int gpu) const;
  void all_stop(const std::optional<std::string> &failure) const;
  void allocate();
  Gpu pick_gpu() const;
  void load(const std::string &path);
  void map_types(int narg, char **names);
  void check_masses() const;
  bool uses_all_neighbours() const;
  void find_owners();
  Frame make_frame();
  void evaluate();
  void add(Prediction &prediction);

  std::unique_ptr<Evaluator> evaluator_;
  std::unique_ptr<EdgeBuilder> edges_;
  std::vector<std::int64_t> model_types_;  // by LAMMPS type, from 1
  std::vector<std::int64_t> types_;        // by owned atom, or of all atoms if ghosts are kept
  std::vector<int> owners_;
  std::vector<Frame> frames_;
  std::vector<Prediction> predictions_;
  Rows rows_;                 // what is exchanged now
  double energy_unit_ = 1.0;  // 1 eV in LAMMPS's energy unit
  bool timing_ = false;
  Device device_ = Device::automatic;
  std::int64_t calls_ = 0;                      // number of calls of compute() in this run
  double model_seconds_ = 0.0, seconds_ = 0.0;  // time in the model, and in compute() in total
  double exchange_seconds_ = 0.0;               // part of the time in the model
};

}  // namespace phasewalk

#endif
