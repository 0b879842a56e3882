//! An embeddable, multi-keyspace, multi-version LSM storage engine: the facade for applications.
