// SPDX-License-Identifier: GPL-2.0-or-later
#ifndef PHASEWALK_COMMUNICATOR_H
#define PHASEWALK_COMMUNICATOR_H

#include <mpi.h>

namespace phasewalk {

/// Part of another communicator, freed by the destructor. The constructor is a collective call.
class Communicator {
 public:
  Communicator(MPI_Comm whole, int part, int order) { MPI_Comm_split(whole, part, order, &comm_); }
  ~Communicator() {
    int ended = 0;
    MPI_Finalized(&ended);
    if (!ended && comm_ != MPI_COMM_NULL) MPI_Comm_free(&comm_);
  }
  Communicator(const Communicator &) = delete;
  Communicator &operator=(const Communicator &) = delete;

  MPI_Comm &get() { return comm_; }

 private:
  MPI_Comm comm_ = MPI_COMM_NULL;
};

}  // namespace phasewalk

#endif
