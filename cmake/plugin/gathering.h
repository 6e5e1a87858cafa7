// SPDX-License-Identifier: GPL-2.0-or-later
#ifndef PHASEWALK_GATHERING_H
#define PHASEWALK_GATHERING_H

#include <mpi.h>

#include <numeric>
#include <string>
#include <vector>

namespace phasewalk {

inline MPI_Datatype mpi_type(const int *) { return MPI_INT; }
inline MPI_Datatype mpi_type(const double *) { return MPI_DOUBLE; }

/// Rows of numbers of all ranks, in the order of the ranks, on the first one. The constructor and
/// all functions are collective calls.
class Gathering {
 public:
  /// `mine` is the number of rows of this rank.
  Gathering(MPI_Comm comm, int mine) : comm_(comm), mine_(mine) {
    int size = 0;
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &size);
    rows_.resize(static_cast<std::size_t>(size));
    MPI_Allgather(&mine, 1, MPI_INT, rows_.data(), 1, MPI_INT, comm_);
  }

  /// All rows, on the first rank; empty on the others.
  template <typename Number>
  std::vector<Number> gather(const Number *rows, int width) const {
    const auto [counts, starts] = layout(width);
    std::vector<Number> all(rank_ ? 0 : static_cast<std::size_t>(starts.back() + counts.back()));
    MPI_Gatherv(rows, width * mine_, mpi_type(rows), all.data(), counts.data(), starts.data(),
                mpi_type(rows), 0, comm_);
    return all;
  }

  /// The reverse; `all` is read on the first rank.
  void scatter(const std::vector<double> &all, double *rows, int width) const {
    const auto [counts, starts] = layout(width);
    MPI_Scatterv(all.data(), counts.data(), starts.data(), MPI_DOUBLE, rows, width * mine_,
                 MPI_DOUBLE, 0, comm_);
  }

 private:
  struct Layout {
    std::vector<int> counts, starts;
  };

  Layout layout(int width) const {
    Layout made{rows_, std::vector<int>(rows_.size())};
    for (int &count : made.counts) count *= width;
    std::exclusive_scan(made.counts.begin(), made.counts.end(), made.starts.begin(), 0);
    return made;
  }

  MPI_Comm comm_;
  int mine_, rank_ = 0;
  std::vector<int> rows_;
};

/// The numbers of all ranks, on each of them.
inline std::vector<double> gather_on_all(MPI_Comm comm, const std::vector<double> &mine) {
  auto all = Gathering(comm, static_cast<int>(mine.size())).gather(mine.data(), 1);
  auto size = static_cast<int>(all.size());
  MPI_Bcast(&size, 1, MPI_INT, 0, comm);
  all.resize(static_cast<std::size_t>(size));
  MPI_Bcast(all.data(), size, MPI_DOUBLE, 0, comm);
  return all;
}

/// The text of one rank, on each of them.
inline std::string text_of(MPI_Comm comm, int rank, std::string text) {
  auto size = static_cast<int>(text.size());
  MPI_Bcast(&size, 1, MPI_INT, rank, comm);
  text.resize(static_cast<std::size_t>(size));
  MPI_Bcast(text.data(), size, MPI_CHAR, rank, comm);
  return text;
}

}  // namespace phasewalk

#endif
