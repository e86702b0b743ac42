"""The sandbox's state: audiences, exports, prices and background work."""
