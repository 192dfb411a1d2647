"""Measuring on a device: which devices there are, what is measured, and the table that comes of it."""

from nat_deploy.profiling.budget import Standing, Verdict, judge
from nat_deploy.profiling.devices import BUILT_IN, Device, device_files, find_device, load_devices, open_device
from nat_deploy.profiling.measure import measure_architectures, measure_models, read_target
from nat_deploy.profiling.profile import PROFILE_SETTINGS, Limit, ProfilePreset, ProfileProgress, profile, profile_settings
from nat_deploy.profiling.tables import (
    TABLES_FOLDER,
    find_sources,
    find_table,
    find_tables,
    load_table_of_its_folder,
    shipped_tables_folder,
    table_folders,
    user_tables_folder,
)

__all__ = [
    "BUILT_IN",
    "PROFILE_SETTINGS",
    "TABLES_FOLDER",
    "Device",
    "Limit",
    "ProfilePreset",
    "ProfileProgress",
    "Standing",
    "Verdict",
    "device_files",
    "find_device",
    "find_sources",
    "find_table",
    "find_tables",
    "judge",
    "load_devices",
    "load_table_of_its_folder",
    "measure_architectures",
    "measure_models",
    "open_device",
    "profile",
    "profile_settings",
    "read_target",
    "shipped_tables_folder",
    "table_folders",
    "user_tables_folder",
]
