// SPDX-License-Identifier: GPL-2.0-or-later
#ifndef PHASEWALK_FIX_PLUMED_H
#define PHASEWALK_FIX_PLUMED_H

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fix.h"
#include "gathering.h"

namespace LAMMPS_NS {
class Compute;
}
namespace PLMD {
class Plumed;
}

namespace phasewalk {

/// fix ID group plumed plumedfile FILE outfile FILE
///
/// Keywords, defaults and position in the input are the same as for LAMMPS's own fix plumed. PLUMED
/// is loaded at run time (PLUMED_KERNEL) and gets the temperature of the thermostat. On several
/// ranks, a PLUMED that was built without MPI runs on the first one, with all atoms.
class FixPlumed : public LAMMPS_NS::Fix {
 public:
  static constexpr const char *kStyle = "fix plumed";

  FixPlumed(LAMMPS_NS::LAMMPS *lmp, int narg, char **arg);
  ~FixPlumed() override;

  int setmask() override;
  void init() override;
  void setup(int vflag) override;
  void min_setup(int vflag) override;
  void post_force(int vflag) override;
  void min_post_force(int vflag) override;
  void reset_dt() override;
  double compute_scalar() override;
  double memory_usage() override;

 private:
  /// What PLUMED keeps pointers to, besides positions and forces.
  struct Given {
    std::vector<int> indices;  // from 0
    std::vector<double> masses, charges;
  };

  template <typename... Args>
  void cmd(const char *key, Args... args);

  void check_place() const;
  std::string kernel() const;
  void load_kernel();
  void set_communicators();
  bool kernel_has_mpi();
  bool idle() const;
  void tell(void *data, int count, MPI_Datatype type) const;
  void set_units();
  void set_files(int narg, char **arg);
  double thermostat() const;
  void start();
  void end();
  void add_computes();
  void find_computes();
  std::string potential_energy_name() const;
  std::string pressure_name() const;
  void check_timestep() const;
  void share_atoms();
  void give_atoms(const Given &atoms, bool changed, const double *positions, double *forces);
  void share_box();
  void add_energy();
  void calculate(bool update);

  std::unique_ptr<PLMD::Plumed> plumed_;
  int natoms_;
  double dt_;
  bool started_ = false;             // PLUMED has read its input
  bool ended_ = false;               // PLUMED has requested a stop
  bool running_ = false;             // inside a step
  bool on_first_ = false;            // PLUMED runs on the first of several ranks
  bool broken_ = false;              // PLUMED failed, and a sentinel stops the run
  double bias_ = 0.0;                // LAMMPS energy units
  LAMMPS_NS::bigint updated_ = -1;   // last step with hills and output of PLUMED
  LAMMPS_NS::bigint repeated_ = -1;  // first step of a run if the previous run ended with it
  LAMMPS_NS::Compute *potential_energy_ = nullptr;  // found at the start of each run
  LAMMPS_NS::Compute *pressure_ = nullptr;
  Given own_;                       // of this rank
  std::optional<Gathering> ranks_;  // if PLUMED runs on the first rank: where atoms are,
  Given all_;                       // and there those of all ranks
  std::vector<double> all_positions_, all_forces_;
  double energy_ = 0.0;
  double box_[3][3] = {};
  double virial_[3][3] = {};  // PLUMED's sign, opposite to LAMMPS's
  std::vector<double> unbiased_virial_ = std::vector<double>(6);
};

}  // namespace phasewalk

#endif
