//! For tests only: throwaway databases, the oracle programs, log scan, seeds.
