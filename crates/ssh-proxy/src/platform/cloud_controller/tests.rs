//! Every answer that Cloud Controller can give.
